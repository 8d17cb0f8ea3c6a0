"""The one function that moves an analysis on, and the one that saves a finished batch.

Both run under the session's row lock, so counters, events and the opening of stages agree.
"""

from __future__ import annotations

from collections.abc import Callable

from django.db import transaction
from django.utils import timezone

from analyses import plan
from analyses.events import BatchSaved, ProgressMade, StageEnded, StatusChanged
from analyses.models import (
    ENDED,
    AnalysisItem,
    AnalysisSession,
    Batch,
    Desired,
    Outcome,
    SessionStatus,
    StageProgress,
)
from analyses.services.spending import count_spending
from core import work
from core.crashpoints import reach
from core.events import publish
from core.models import WorkStatus
from projects.models import Conversation


def locked(session_id: int) -> AnalysisSession:
    """The session with its row lock held until the transaction ends."""
    return AnalysisSession.objects.select_for_update().get(pk=session_id)


def set_status(session: AnalysisSession, status: str, reason: str = "", detail: str = "") -> None:
    """Write a new status with its event; no-op when nothing changes. Only ``advance`` calls it."""
    if (session.status, session.reason) == (status, reason):
        return
    now = timezone.now()
    session.status, session.reason, session.detail = status, reason, detail[:400]
    if status == SessionStatus.RUNNING and session.started_at is None:
        session.started_at = now
    session.finished_at = now if status in ENDED else None
    session.save(update_fields=["status", "reason", "detail", "started_at", "finished_at"])
    publish(session.topic, StatusChanged(status=status, reason=reason, text=session.detail))


def advance(session: AnalysisSession, *, reap: bool = True) -> None:
    """Bring a locked session to where its rows say it should be.

    In order: take back dead leases, stop, pause, open stages whose needs are met, finish.
    Idempotent: anybody may call it at any time. ``reap=False`` leaves dead leases to the next
    tick, for workers that save many batches a second.
    """
    if session.status in ENDED:
        return
    if reap or session.desired != Desired.RUN:
        _reap(session)
    if session.status in ENDED:
        return
    if session.desired != Desired.RUN:
        _wind_down(session)
    elif session.status not in (SessionStatus.BLOCKED, SessionStatus.FAILED):
        set_status(session, SessionStatus.RUNNING)
        _open_stages(session)


def _wind_down(session: AnalysisSession) -> None:
    """Stop or pause, at once when nothing is leased any more."""
    leased = session.batches.filter(status=WorkStatus.LEASED).exists()
    if session.desired == Desired.CANCEL:
        _cancel(session, leased)
    else:
        set_status(session, SessionStatus.PAUSING if leased else SessionStatus.PAUSED)


def _reap(session: AnalysisSession) -> None:
    for batch in work.reap(session.batches.all()):
        if batch.status == WorkStatus.QUARANTINED:
            _set_aside(session, batch)
        else:
            Batch.objects.filter(pk=batch.pk).update(retried=True)
        if batch.stage == "facets":
            publish(
                session.topic,
                BatchSaved(seq=batch.seq, state="retried", text="Its worker stopped; taken back."),
            )


def _cancel(session: AnalysisSession, leased: bool) -> None:
    session.batches.filter(status=WorkStatus.PENDING).update(status=WorkStatus.CANCELLED)
    set_status(session, SessionStatus.CANCELLING if leased else SessionStatus.CANCELLED)


def _open_stages(session: AnalysisSession) -> None:
    """Open every stage whose needs have finished; end the analysis after the last one."""
    stages = {stage.key: stage for stage in session.stages.all()}
    finished = {key for key, stage in stages.items() if stage.finished_at}
    for step in plan.STAGES:
        stage = stages[step.key]
        if not stage.opened and finished.issuperset(step.needs):
            _open(session, stage)
    if len(finished) == len(stages):
        _complete(session)


def _open(session: AnalysisSession, stage: StageProgress) -> None:
    """Insert the batch of a stage that works on everything at once."""
    if session.previewed:
        waiting = session.batches.filter(stage=plan.PREVIEW, status=WorkStatus.PENDING)
        waiting.update(status=WorkStatus.CANCELLED)
    Batch.objects.get_or_create(
        session=session, stage=stage.key, seq=0, defaults={"first": 0, "last": session.total}
    )
    stage.opened, stage.batches_total = True, 1
    stage.started_at = stage.started_at or timezone.now()
    stage.save(update_fields=["opened", "batches_total", "started_at"])
    reach("after_stage_open")


def _complete(session: AnalysisSession) -> None:
    count_spending(session)
    partial = session.failed_count > 0
    set_status(
        session,
        SessionStatus.PARTIAL if partial else SessionStatus.COMPLETED,
        "skipped" if partial else "",
        f"{session.failed_count} conversations could not be read." if partial else "",
    )


def saved(
    batch: Batch,
    write: Callable[[AnalysisSession], None],
    *,
    done: int,
    failed: int = 0,
) -> AnalysisSession:
    """Save a batch's results, counters and events in one transaction, and move on.

    ``write`` inserts the results. Raises :class:`core.work.LeaseLost` when the claim is no longer
    ours; then nothing of it stays.
    """
    reach("before_finish")
    with transaction.atomic():
        session = locked(batch.session_id)
        work.finish(batch, failed_items=failed)
        write(session)
        if batch.stage != plan.PREVIEW:
            _count(session, batch, done=done, failed=failed)
        advance(session, reap=False)
        reach("in_finish")
    reach("after_finish")
    return session


def _count(session: AnalysisSession, batch: Batch, *, done: int, failed: int) -> None:
    if batch.stage == "facets":
        session.read_count += done
        session.failed_count += failed
        session.save(update_fields=["read_count", "failed_count"])
        publish(session.topic, BatchSaved(seq=batch.seq, state="saved", failed=failed))
        _ask_for_preview(session)
    _move(session, batch.stage, done + failed)


def _move(session: AnalysisSession, key: str, items: int) -> None:
    """One more batch of a stage is over, with so many conversations; the last one ends it."""
    stage = session.stages.get(key=key)
    stage.batches_done += 1
    stage.items_done = min(stage.items_total, stage.items_done + items)
    stage.started_at = stage.started_at or timezone.now()
    publish(
        session.topic,
        ProgressMade(stage=stage.key, done=stage.items_done, total=stage.items_total),
    )
    if stage.opened and stage.batches_done >= stage.batches_total:
        stage.items_done = stage.items_total
        stage.finished_at = timezone.now()
        count_spending(session)
        seconds = (stage.finished_at - stage.started_at).total_seconds()
        publish(session.topic, StageEnded(stage=stage.key, seconds=round(seconds, 2)))
    stage.save(update_fields=["batches_done", "items_done", "started_at", "finished_at"])


def _ask_for_preview(session: AnalysisSession) -> None:
    """Have the provisional picture redrawn when enough more was read and none is on its way."""
    if session.read_count < plan.next_preview(session.previewed, session.total):
        return
    previews = session.batches.filter(stage=plan.PREVIEW)
    if previews.filter(status__in=(WorkStatus.PENDING, WorkStatus.LEASED)).exists():
        return
    Batch.objects.create(
        session=session, stage=plan.PREVIEW, seq=previews.count(), last=session.total
    )


def _set_aside(session: AnalysisSession, batch: Batch) -> None:
    """A batch whose worker died three times: its conversations are skipped, or the run fails."""
    if batch.stage == plan.PREVIEW:
        return
    if not plan.BY_KEY[batch.stage].ranged:
        label = plan.BY_KEY[batch.stage].label
        set_status(session, SessionStatus.FAILED, "stage", f"{label}: {batch.error}")
        return
    skipped = batch.last - batch.first
    if batch.stage == "prepare":
        _skip_unprepared(session, batch)
        session.failed_count += skipped
        session.save(update_fields=["failed_count"])
        _count(session, batch, done=0, failed=skipped)
        _move(session, "facets", skipped)
        return
    session.items.filter(position__gte=batch.first, position__lt=batch.last).exclude(
        outcome=Outcome.READ
    ).update(outcome=Outcome.FAILED, error_class="worker", error=batch.error[:300])
    _count(session, batch, done=0, failed=skipped)


def _skip_unprepared(session: AnalysisSession, batch: Batch) -> None:
    """Give an outcome to conversations that were never prepared."""
    rows = Conversation.objects.filter(
        dataset=session.dataset_id, position__gte=batch.first, position__lt=batch.last
    )
    AnalysisItem.objects.bulk_create(
        AnalysisItem(
            session=session,
            conversation_id=pk,
            position=position,
            outcome=Outcome.FAILED,
            error_class="worker",
            error=batch.error[:300],
        )
        for pk, position in rows.values_list("pk", "position")
    )


def give_up(batch: Batch, error: str) -> None:
    """Record a failed attempt of a batch; after the last one set it aside."""
    with transaction.atomic():
        session = locked(batch.session_id)
        if work.fail(batch, error):
            batch.refresh_from_db()
            _set_aside(session, batch)
        else:
            Batch.objects.filter(pk=batch.pk).update(retried=True)
        advance(session)


def block(session_id: int, reason: str, detail: str) -> None:
    """Stop issuing work until a person or time removes the reason (key, quota, provider)."""
    with transaction.atomic():
        session = locked(session_id)
        if session.status not in ENDED:
            set_status(session, SessionStatus.BLOCKED, reason, detail)
