"""Worker-time shell of jobs: claim, do the waiting items in chunks, finish.

Whatever happens to a worker, the next one goes on with the items that still wait: an item's work
and its state are written in one transaction that checks the job's fence.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from core import disks, q2, work
from core.errors import AppError
from core.events import publish
from core.heartbeat import Heartbeat
from core.models import LeasedWork, WorkStatus
from projects.events import JobEnded, JobMoved
from projects.models import ItemState, Job, JobItem
from projects.services.jobs import RUN_JOB, end_if_waiting
from projects.services.kinds import Kind, kind_of

log = logging.getLogger("openclio.jobs")

SLICE = 100.0
"""Seconds a worker stays with one job before it makes room for others."""

QUIET = 0.25
"""Seconds between two events of a job."""

DISK_FULL = "The disk is full. Free some room, then start this again."


def run_job(job_id: int) -> bool:
    """Claim and do one job; returns whether this call held it."""
    job = work.claim(Job.objects.filter(pk=job_id), owner=work.owner_name())
    if job is None:
        return False
    run = JobRun(job)
    heart = Heartbeat(run.lost)
    heart.start()
    heart.hold(job)
    try:
        run.perform(kind_of(job.kind))
    except work.LeaseLost:
        log.warning("Job %s was taken by another worker.", job.pk)
    except AppError as error:
        run.refuse(error.text)
    except Exception as error:
        log.exception("Job %s broke.", job.pk)
        run.broke(error)
    finally:
        heart.drop(job)
        heart.stop()
    return True


class JobRun:
    """One worker's hold on a job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._lost = False
        self._told = 0.0
        self._began = time.monotonic()

    def lost(self, item: LeasedWork) -> None:
        """Heartbeat's thread: write nothing more."""
        self._lost = True

    def perform(self, kind: Kind) -> None:
        """Do what waits. A job that was given back or broke begins where it ended."""
        tries = self.job.attempt
        with transaction.atomic():
            self.hold()
            Job.objects.filter(pk=self.job.pk, started_at=None).update(started_at=Now())
            if tries >= work.MAX_ATTEMPTS:
                self._skip_deadly()
        # After a worker died here, the items go one by one, so that the one to blame is alone.
        size = kind.size if tries == 1 else 1
        while items := self._waiting(size):
            if not self._go_on():
                return
            kind.chunk(self, items)
        if self._go_on():
            kind.finish(self)
            self._end()

    def _waiting(self, size: int) -> Sequence[JobItem]:
        return list(self.job.items.filter(state=ItemState.WAITING).order_by("pk")[:size])

    def _skip_deadly(self) -> None:
        """Two workers died at the first waiting item: leave it out and say so."""
        first = self._waiting(1)
        if first:
            self.settle(first, ItemState.FAILED, "Two workers stopped at this item.")

    def _go_on(self) -> bool:
        """Whether to continue; otherwise the job is stopped or given back here."""
        wanted = Job.objects.filter(pk=self.job.pk).values_list("cancel_wanted", flat=True)
        if wanted.get():
            self._stop()
            return False
        if q2.draining() or time.monotonic() - self._began > SLICE:
            with transaction.atomic():
                work.release(self.job)
                q2.wake(RUN_JOB, self.job.pk)
            return False
        return True

    def hold(self) -> None:
        """Lock the job's row; raises ``LeaseLost`` when somebody else has it or it ended."""
        held = Job.objects.select_for_update().filter(
            pk=self.job.pk, fence=self.job.fence, status=WorkStatus.LEASED
        )
        if self._lost or not held.exists():
            raise work.LeaseLost(f"Job {self.job.pk}")

    def settle(self, items: Sequence[JobItem], state: str, error: str = "") -> None:
        """Record what became of items that waited, in the caller's transaction."""
        self.hold()
        waiting = JobItem.objects.filter(
            pk__in=[item.pk for item in items], state=ItemState.WAITING
        )
        changed = waiting.update(state=state, error=error[:300])
        # Progress gives the job its tries back: only deaths without any count.
        Job.objects.filter(pk=self.job.pk).update(
            **{COUNTERS[state]: F(COUNTERS[state]) + changed}, attempt=1
        )
        self.job.attempt = 1
        self._tell()

    def note(self, **result: Any) -> None:
        """Add to the job's ``result``, in the caller's transaction."""
        self.hold()
        row = Job.objects.get(pk=self.job.pk)
        fields = {key: result.pop(key) for key in ("file", "file_until") if key in result}
        row.result = self.job.result = {**row.result, **result}
        for key, value in fields.items():
            setattr(row, key, value)
        row.save(update_fields=["result", *fields])

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told < QUIET:
            return
        self._told = now
        row = Job.objects.get(pk=self.job.pk)
        publish(row.topic, JobMoved(done=row.done, failed=row.failed, total=row.total))

    def _end(self) -> None:
        with transaction.atomic():
            work.finish(self.job)
            self._tell_end(WorkStatus.DONE)

    def _tell_end(self, status: str, text: str = "") -> None:
        publish(self.job.topic, JobEnded(status=status, text=text[:300]))

    def _stop(self) -> None:
        with transaction.atomic():
            work.release(self.job)
            end_if_waiting(self.job)

    def refuse(self, reason: str) -> None:
        """Trying again would not help: end as failed, with the reason."""
        with transaction.atomic():
            try:
                self.hold()
            except work.LeaseLost:
                return
            work.shift(
                Job.objects.filter(pk=self.job.pk, fence=self.job.fence),
                WorkStatus.LEASED,
                WorkStatus.QUARANTINED,
                owner="",
                lease_until=None,
                finished_at=Now(),
                error=reason[:2000],
            )
            self._tell_end(WorkStatus.QUARANTINED, reason)

    def broke(self, error: Exception) -> None:
        """A full disk ends the job; other faults are tried again, three times in all."""
        if disks.is_full(error):
            self.refuse(DISK_FULL)
            return
        reason = f"It failed three times: {type(error).__name__}."
        with transaction.atomic():
            try:
                if work.fail(self.job, reason):
                    self._tell_end(WorkStatus.QUARANTINED, reason)
            except work.LeaseLost:
                return


COUNTERS: dict[str, str] = {
    ItemState.DONE: "done",
    ItemState.FAILED: "failed",
    ItemState.SKIPPED: "skipped",
}
