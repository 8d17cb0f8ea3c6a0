"""The engine of jobs: nothing is lost, nothing is done twice, failures stay with their items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import ClassVar
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Role
from core import q2
from core.errors import AppError, Conflict, Forbidden, Invalid, NotFound
from core.events import since
from core.jobs import registry
from core.models import WorkStatus
from projects import runner
from projects.models import Conversation, Dataset, ItemState, Job, JobItem
from projects.runner import jobs as jobs_runner
from projects.services import ticking
from projects.services.jobs import cancel_job, retry_failed, start_job, undo_job
from projects.services.kinds import OneByOne, Settings

pytestmark = pytest.mark.django_db


class Killed(BaseException):
    """The process ends here, whatever the code would like to do about it."""


class MarkSettings(Settings):
    dataset: int = 1


class Mark(OneByOne):
    """Writes a mark onto every conversation of a data set; trouble is told to it by position."""

    key = "export"
    settings = MarkSettings
    role = Role.ANALYST
    size = 5
    deadly: ClassVar[set[int]] = set()
    bad: ClassVar[set[int]] = set()
    seen: ClassVar[list[int]] = []
    after: ClassVar[Callable[[Job], None] | None] = None
    finished: ClassVar[int] = 0

    def select(self, wanted):
        rows = Conversation.objects.filter(
            dataset__project=wanted.project, dataset__number=wanted.settings.dataset
        ).order_by("position")
        if wanted.ids is not None:
            rows = rows.filter(position__in=wanted.ids)
        if "language" in wanted.filter:
            rows = rows.filter(language=wanted.filter["language"])
        return rows.values_list("pk", "external_id")

    def title(self, wanted, count):
        return f"Mark {count}"

    def item(self, run, item):
        row = Conversation.objects.get(pk=item.ref)
        Conversation.objects.filter(pk=row.pk).update(end_user=row.end_user + "!")
        if row.position in self.deadly:
            raise Killed
        if row.position in self.bad:
            raise AppError("plain", why="This one is bad.")
        self.seen.append(row.position)
        if type(self).after:
            type(self).after(run.job)
        return ItemState.DONE

    def finish(self, run):
        type(self).finished += 1


class MarkMany(Mark):
    size = 1000

    def chunk(self, run, items: Sequence[JobItem]) -> None:
        with transaction.atomic():
            run.hold()
            refs = [item.ref for item in items]
            Conversation.objects.filter(pk__in=refs).update(end_user="!")
            run.settle(items, ItemState.DONE)


@pytest.fixture(autouse=True)
def mark(monkeypatch):
    monkeypatch.setitem(registry._kinds, "export", "tests.projects.test_jobs.Mark")
    Mark.deadly, Mark.bad, Mark.seen, Mark.after, Mark.finished = set(), set(), [], None, 0
    return Mark


@pytest.fixture
def begin(project, dataset, analyst):
    def go(**changes) -> Job:
        values = {"actor": analyst, "kind": "export", "matching": {}, **changes}
        return start_job(project=project, **values)

    return go


def marks(dataset: Dataset) -> list[int]:
    """How often each conversation was marked."""
    users = dataset.conversations.order_by("position").values_list("end_user", flat=True)
    return [user.count("!") for user in users]


def fresh(job: Job) -> Job:
    return Job.objects.get(pk=job.pk)


def expire(job: Job) -> None:
    """The worker was killed: its lease runs out."""
    Job.objects.filter(pk=job.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    ticking.tick()


def die(job: Job) -> None:
    with pytest.raises(Killed):
        runner.run_job(job.pk)
    expire(job)


def test_every_item_once_then_the_end(begin, dataset):
    job = begin()
    assert (job.total, job.title, job.status) == (12, "Mark 12", WorkStatus.PENDING)
    assert runner.run_job(job.pk)
    assert not runner.run_job(job.pk)
    job = fresh(job)
    assert (job.status, job.done, job.failed) == (WorkStatus.DONE, 12, 0)
    assert None not in (job.started_at, job.finished_at)
    assert not job.owner
    assert marks(dataset) == [1] * 12
    kinds = [row["kind"] for row in since(job.topic, 0)]
    assert kinds[0] == "job"
    assert kinds[-1] == "job-ended"


def test_ids_choose_and_doubles_count_once(begin, dataset):
    job = begin(ids=[3, 1, 3, 99], matching=None)
    runner.run_job(job.pk)
    assert fresh(job).total == 2
    assert [n for n, times in enumerate(marks(dataset)) if times] == [1, 3]


def test_a_filter_is_frozen_when_the_job_is_made(begin, dataset):
    job = begin(matching={"language": "es"})
    Conversation.objects.filter(dataset=dataset, position=0).update(language="es")
    record = dataset.imports.get()
    Conversation.objects.create(
        dataset=dataset,
        record=record,
        position=12,
        external_id="late",
        language="es",
        message_count=1,
        token_count=1,
        content_hash="0",
        messages=[],
    )
    runner.run_job(job.pk)
    assert sorted(Mark.seen) == [2, 5, 8, 11]


def test_failures_stay_with_their_items_and_are_retried_alone(begin, dataset, analyst):
    Mark.bad = {2, 7}
    job = begin()
    runner.run_job(job.pk)
    job = fresh(job)
    assert (job.status, job.done, job.failed) == (WorkStatus.DONE, 10, 2)
    failed = job.items.filter(state=ItemState.FAILED)
    assert [(item.label, item.error) for item in failed] == [
        ("c-2", "This one is bad."),
        ("c-7", "This one is bad."),
    ]
    Mark.bad, Mark.seen = set(), []
    again = retry_failed(actor=analyst, job=job)
    assert again.retry_of == job
    assert retry_failed(actor=analyst, job=job) == again
    runner.run_job(again.pk)
    assert Mark.seen == [2, 7]
    # What a failed item wrote was rolled back.
    assert marks(dataset) == [1] * 12
    with pytest.raises(Conflict):
        retry_failed(actor=analyst, job=fresh(again))


def test_a_killed_worker_loses_nothing_and_repeats_nothing(begin, dataset):
    Mark.deadly = {7}
    job = begin()
    die(job)
    job = fresh(job)
    assert (job.status, job.done) == (WorkStatus.PENDING, 7)
    Mark.deadly = set()
    runner.run_job(job.pk)
    assert marks(dataset) == [1] * 12
    assert (fresh(job).status, fresh(job).done) == (WorkStatus.DONE, 12)


def test_an_item_that_kills_is_left_out_with_its_reason(begin, dataset):
    Mark.deadly = {3, 9}
    job = begin()
    for _ in range(6):
        if fresh(job).status != WorkStatus.PENDING:
            break
        try:
            runner.run_job(job.pk)
        except Killed:
            expire(job)
    job = fresh(job)
    assert (job.status, job.done, job.failed) == (WorkStatus.DONE, 10, 2)
    assert [item.label for item in job.items.filter(state=ItemState.FAILED)] == ["c-3", "c-9"]
    assert marks(dataset) == [int(n not in {3, 9}) for n in range(12)]


def test_a_worker_that_lost_its_lease_writes_nothing_more(begin, dataset):
    job = begin()

    def steal(held: Job) -> None:
        Mark.after = None
        Job.objects.filter(pk=held.pk).update(fence=held.fence + 1)

    Mark.after = steal
    runner.run_job(job.pk)
    assert marks(dataset) == [0] * 12
    assert fresh(job).done == 0


def test_cancel_stops_before_the_next_chunk_and_keeps_what_is_done(begin, dataset, analyst):
    job = begin()

    def ask(held: Job) -> None:
        Mark.after = None
        cancel_job(actor=analyst, job=held)

    Mark.after = ask
    runner.run_job(job.pk)
    job = fresh(job)
    assert (job.status, job.done) == (WorkStatus.CANCELLED, 5)
    assert sum(marks(dataset)) == 5
    assert Mark.finished == 0
    with pytest.raises(Conflict):
        cancel_job(actor=analyst, job=job)


def test_cancel_of_a_waiting_job_is_at_once(begin, analyst):
    job = begin()
    assert cancel_job(actor=analyst, job=job).status == WorkStatus.CANCELLED
    assert not runner.run_job(job.pk)


def test_cancel_reaches_a_job_whose_worker_died(begin, analyst):
    Mark.deadly = {7}
    job = begin()
    with pytest.raises(Killed):
        runner.run_job(job.pk)
    cancel_job(actor=analyst, job=job)
    expire(job)
    assert fresh(job).status == WorkStatus.CANCELLED


def test_a_drained_worker_gives_the_job_back(begin, dataset, monkeypatch):
    job = begin()
    monkeypatch.setattr(q2, "draining", lambda: bool(Mark.seen))
    runner.run_job(job.pk)
    job = fresh(job)
    assert (job.status, job.done, job.attempt) == (WorkStatus.PENDING, 5, 0)
    monkeypatch.setattr(q2, "draining", lambda: False)
    runner.run_job(job.pk)
    assert marks(dataset) == [1] * 12


def test_a_full_disk_ends_the_job_with_the_reason(begin, monkeypatch):
    def full(self, run):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Mark, "finish", full)
    job = begin()
    runner.run_job(job.pk)
    job = fresh(job)
    assert job.status == WorkStatus.QUARANTINED
    assert "disk is full" in job.error


def test_a_fault_of_ours_is_tried_three_times(begin, monkeypatch):
    def broken(self, run):
        raise ZeroDivisionError

    monkeypatch.setattr(Mark, "finish", broken)
    job = begin()
    for _ in range(4):
        Job.objects.filter(pk=job.pk).update(not_before=None)
        runner.run_job(job.pk)
    job = fresh(job)
    assert job.status == WorkStatus.QUARANTINED
    assert "ZeroDivisionError" in job.error


def test_a_form_sent_twice_starts_one_job(begin):
    uid = uuid4()
    assert begin(uid=uid) == begin(uid=uid)
    assert Job.objects.count() == 1


def test_who_may(begin, viewer, outsider, other_owner, owner):
    with pytest.raises(Forbidden):
        begin(actor=viewer)
    for stranger in (outsider, other_owner):
        with pytest.raises(NotFound):
            begin(actor=stranger)
    job = begin(actor=owner)
    for change in (cancel_job, retry_failed, undo_job):
        with pytest.raises(Forbidden):
            change(actor=viewer, job=job)
        with pytest.raises(NotFound):
            change(actor=outsider, job=job)


def test_bad_wishes_are_refused_and_leave_nothing(begin):
    for wish in (
        {"matching": {"language": "xx"}},
        {"matching": None},
        {"kind": "dance"},
        {"settings": {"speed": 3}},
        {"ids": range(20_000)},
    ):
        with pytest.raises(Invalid):
            begin(**wish)
    assert not Job.objects.exists()


def test_twenty_thousand_items_in_bounded_statements(project, analyst, make_dataset, monkeypatch):
    monkeypatch.setitem(registry._kinds, "export", "tests.projects.test_jobs.MarkMany")
    make_dataset(project, size=20_000)
    with CaptureQueriesContext(connection) as made:
        job = start_job(actor=analyst, project=project, kind="export", matching={})
    assert job.total == 20_000
    assert len(made) < 80
    with CaptureQueriesContext(connection) as queries:
        runner.run_job(job.pk)
    assert fresh(job).done == 20_000
    assert len(queries) < 20 * 16
    assert Conversation.objects.filter(end_user="!").count() == 20_000


def test_the_tick_wakes_what_waits(begin, monkeypatch):
    woken = []
    monkeypatch.setattr(q2, "wake", lambda *task: woken.append(task))
    monkeypatch.setattr(q2, "waiting", lambda: 0)
    job = begin(wake=False)
    assert woken == []
    ticking.tick()
    assert ("projects.tasks.run_job", job.pk) in woken


def test_slices_make_room_for_others(begin, monkeypatch, dataset):
    monkeypatch.setattr(jobs_runner, "SLICE", -1.0)
    job = begin()
    runner.run_job(job.pk)
    assert fresh(job).status == WorkStatus.PENDING
    assert sum(marks(dataset)) == 0
