"""Saving batches, setting them aside, and the tick."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_q.models import OrmQ

from accounts.models import User
from analyses import plan, services
from analyses.models import (
    AnalysisSession,
    Batch,
    SessionStatus,
)
from analyses.services import quarantine
from analyses.services.advance import give_up
from analyses.services.pumps import live_pumps
from core import work
from core.models import Beat, WorkStatus
from core.work import LeaseLost
from projects.models import Dataset, Project
from tests.analyses.support import claim, kinds

ME = work.owner_name()


def prepared(session: AnalysisSession) -> list[Batch]:
    """Prepare everything as the worker does; the batches that wait to be read."""
    for _ in range(session.batches.filter(stage="prepare").count()):
        batch = claim(session, stage="prepare")

        def write(row: AnalysisSession, batch: Batch = batch) -> None:
            pairs = row.dataset.conversations.filter(
                position__gte=batch.first, position__lt=batch.last
            )
            row.items.bulk_create(
                row.items.model(session=row, conversation=one, position=one.position)
                for one in pairs
            )
            Batch.objects.create(
                session=row, stage="facets", seq=batch.seq, first=batch.first, last=batch.last
            )

        services.saved(batch, write, done=batch.last - batch.first)
    return list(session.batches.filter(stage="facets"))


def test_the_last_batch_of_a_stage_opens_the_next(start: Callable[..., AnalysisSession]) -> None:
    session = start()
    assert len(prepared(session)) == 2
    assert session.stages.get(key="prepare").finished_at is not None
    for _ in range(2):
        assert not session.stages.get(key="embed").opened
        batch = claim(session, stage="facets")
        services.saved(batch, lambda row: None, done=batch.last - batch.first)
    session.refresh_from_db()
    assert session.read_count == 12
    assert session.stages.get(key="facets").items_done == 12
    assert session.stages.get(key="embed").opened
    assert session.batches.filter(stage="embed").count() == 1
    for _ in range(3):
        services.tick()
    assert session.batches.filter(stage="embed").count() == 1
    assert kinds(session).count("stage") == 2


def test_a_stale_writer_leaves_nothing(start: Callable[..., AnalysisSession]) -> None:
    session = start()
    zombie = claim(session)
    Batch.objects.filter(pk=zombie.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    services.tick()
    heir = claim(session, pk=zombie.pk)
    before = kinds(session)

    def write(row: AnalysisSession) -> None:
        AnalysisSession.objects.filter(pk=row.pk).update(notice="written by a zombie")

    with pytest.raises(LeaseLost):
        services.saved(zombie, write, done=10)
    with pytest.raises(LeaseLost):
        give_up(zombie, "late")
    session.refresh_from_db()
    assert session.notice == ""
    assert session.stages.get(key="prepare").batches_done == 0
    assert kinds(session) == before
    services.saved(heir, lambda row: None, done=10)
    assert session.stages.get(key="prepare").batches_done == 1


def die(session: AnalysisSession, **only: Any) -> None:
    """A worker claims and dies."""
    batch = claim(session, **only)
    Batch.objects.filter(pk=batch.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    services.tick()


def test_a_whole_stage_that_keeps_failing_fails_the_analysis_and_can_be_tried_again(
    start: Callable[..., AnalysisSession], analyst: User
) -> None:
    session = start()
    prepared(session)
    for _ in range(2):
        services.saved(claim(session, stage="facets"), lambda row: None, done=6)
    for _ in range(3):
        session.batches.filter(stage="embed").update(not_before=None)
        give_up(claim(session, stage="embed"), "MemoryError")
    session.refresh_from_db()
    assert (session.status, session.reason) == (SessionStatus.FAILED, "stage")
    assert session.detail == "Embed: MemoryError"
    assert session.finished_at is not None
    services.resume(actor=analyst, session=session)
    session.refresh_from_db()
    assert (session.status, session.finished_at) == (SessionStatus.RUNNING, None)
    batch = claim(session, stage="embed")
    assert batch.attempt == 1
    services.saved(batch, lambda row: None, done=100)
    assert session.stages.get(key="cluster").opened


def test_a_whole_stage_outlives_deaths_and_waits_longer_after_each(
    start: Callable[..., AnalysisSession],
) -> None:
    session = start()
    prepared(session)
    for _ in range(2):
        services.saved(claim(session, stage="facets"), lambda row: None, done=6)
    waited = []
    for _ in range(quarantine.STAGE_TRIES - 1):
        die(session, stage="embed")
        batch = session.batches.get(stage="embed")
        assert batch.status == WorkStatus.PENDING
        waited.append(batch.not_before is not None and batch.not_before > timezone.now())
        session.batches.filter(stage="embed").update(not_before=None)
    assert waited == [False] * 2 + [True] * 5
    die(session, stage="embed")
    session.refresh_from_db()
    assert (session.status, session.reason) == (SessionStatus.FAILED, "stage")
    assert session.detail == "Embed: The worker stopped 8 times."


def test_a_fault_of_a_stage_weighs_more_than_a_death(
    start: Callable[..., AnalysisSession],
) -> None:
    session = start()
    prepared(session)
    for _ in range(2):
        services.saved(claim(session, stage="facets"), lambda row: None, done=6)
    die(session, stage="embed")
    die(session, stage="embed")
    give_up(claim(session, stage="embed"), "MemoryError")
    session.refresh_from_db()
    assert session.status == SessionStatus.RUNNING
    session.batches.filter(stage="embed").update(not_before=None)
    give_up(claim(session, stage="embed"), "MemoryError")
    session.refresh_from_db()
    assert session.status == SessionStatus.FAILED


def test_a_failure_while_pausing_is_told_and_tried_again_on_resuming(
    start: Callable[..., AnalysisSession], analyst: User
) -> None:
    session = start()
    prepared(session)
    for _ in range(2):
        services.saved(claim(session, stage="facets"), lambda row: None, done=6)
    Batch.objects.filter(session=session, stage="embed").update(attempt=quarantine.STAGE_TRIES - 1)
    batch = claim(session, stage="embed")
    services.pause(actor=analyst, session=session)
    Batch.objects.filter(pk=batch.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    services.tick()
    session.refresh_from_db()
    assert (session.status, session.reason) == (SessionStatus.PAUSED, "stage")
    assert session.detail == "Embed: The worker stopped 8 times."
    services.resume(actor=analyst, session=session)
    assert claim(session, stage="embed").attempt == 1


def test_a_preview_is_asked_for_once_and_fails_nothing(
    project: Project,
    make_dataset: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
) -> None:
    session = start(dataset=make_dataset(project, size=120))
    prepared(session)
    previews = session.batches.filter(stage=plan.PREVIEW)
    for expected in (0, 0, 0, 0, 1, 1, 1):
        services.saved(claim(session, stage="facets"), lambda row: None, done=10)
        assert previews.count() == expected
    for _ in range(3):
        die(session, stage=plan.PREVIEW)
    session.refresh_from_db()
    assert (session.status, session.failed_count) == (SessionStatus.RUNNING, 0)


def test_waking_fills_only_what_is_idle(
    start: Callable[..., AnalysisSession], settings: Any
) -> None:
    settings.WORKERS = 3
    Beat.objects.create(name=f"pump:{ME}", beat_at=timezone.now())
    Beat.objects.create(name="pump:elsewhere:1:1", beat_at=timezone.now() - timedelta(minutes=1))
    start()
    assert OrmQ.objects.count() == 2
    start()
    services.tick()
    assert OrmQ.objects.count() == 2


def test_every_host_wakes_its_own_workers(
    start: Callable[..., AnalysisSession], settings: Any
) -> None:
    settings.WORKERS = 2
    for pid in (1, 2, 3):
        Beat.objects.create(name=f"pump:elsewhere:{pid}:1", beat_at=timezone.now())
    Beat.objects.create(name=f"pump:{ME}", beat_at=timezone.now())
    assert live_pumps() == 1
    start()
    assert OrmQ.objects.count() == 1
    for _ in range(3):
        services.tick()
    assert OrmQ.objects.count() == 1
