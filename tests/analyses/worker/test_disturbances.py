"""Pauses, kills and stolen leases change no result."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from accounts.models import User
from analyses import export, plan, services
from analyses.models import (
    AnalysisSession,
    Batch,
    Outcome,
    SessionStatus,
)
from analyses.runner.worker import Worker
from core import work
from core.models import WorkStatus
from projects.models import Dataset
from providers.clients.scripted import Scenario
from providers.models import CallState, LlmCall, ModelDeployment
from tests.analyses.worker.support import Told, check_books, picture, run, table, worker_run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def undisturbed(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
) -> tuple[Dataset, tuple[Any, ...], int]:
    """A data set, the picture of an analysis that nothing disturbed, and its number of calls."""
    dataset = talks(60)
    session = run(start(dataset, chat=model))
    check_books(session)
    result, calls = picture(session), LlmCall.objects.count()
    # So that the next analysis of the same data has to ask again.
    LlmCall.objects.all().delete()
    told.settled.clear()
    told.play(Scenario(latency=0.02, jitter=0.02))
    return dataset, result, calls


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came")


def test_pause_and_resume_change_nothing(
    undisturbed: tuple[Dataset, tuple[Any, ...], int],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    analyst: User,
) -> None:
    dataset, expected, calls = undisturbed
    session = start(dataset, chat=model)

    async def disturbed() -> None:
        worker = Worker(session_id=session.pk, idle_exit=1.5)
        running = asyncio.create_task(worker.run())
        await until(lambda: told.requests >= 20)
        await asyncio.to_thread(services.pause, actor=analyst, session=session)
        await running

    worker_run(disturbed())
    services.tick()
    session.refresh_from_db()
    assert session.status == SessionStatus.PAUSED
    assert 20 <= told.requests < 60
    assert not session.batches.filter(status=WorkStatus.LEASED).exists()
    # Calls that were about to leave were called off; none is in doubt.
    unsettled = LlmCall.objects.exclude(state=CallState.OK)
    assert set(unsettled.values_list("state", "error_class")) <= {(CallState.FAILED, "cancelled")}
    services.resume(actor=analyst, session=session)
    session = run(session)
    assert session.status == SessionStatus.COMPLETED
    check_books(session)
    assert picture(session) == expected
    assert told.requests == calls == LlmCall.objects.count()
    assert set(told.settled.values()) == {1}
    assert set(session.batches.filter(stage="facets").values_list("attempt", flat=True)) == {1}


def test_a_stop_keeps_what_was_read(
    undisturbed: tuple[Dataset, tuple[Any, ...], int],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    analyst: User,
) -> None:
    session = start(undisturbed[0], chat=model)

    async def disturbed() -> None:
        running = asyncio.create_task(Worker(session_id=session.pk, idle_exit=1.5).run())
        await until(lambda: told.requests >= 30)
        await asyncio.to_thread(services.cancel, actor=analyst, session=session)
        await running

    worker_run(disturbed())
    services.tick()
    session.refresh_from_db()
    assert session.status == SessionStatus.CANCELLED
    assert session.read_count == session.items.filter(outcome=Outcome.READ).count()
    assert len(table(session)) == session.items.count()


DEAD = f"{socket.gethostname()}:999999999:1"
"""The name of a process of this host that is gone, so that nobody waits for its calls."""


class Killed(BaseException):
    """The process is gone."""


def kill(session: AnalysisSession, when: Callable[[], bool] | None = None) -> bool:
    """A worker that vanishes: nothing is drained, given back or closed. Whether it did."""

    async def vanish() -> bool:
        worker = Worker(session_id=session.pk, idle_exit=1.5)

        async def nothing() -> None:
            worker._heart.stop()

        worker._close = nothing  # type: ignore[method-assign]
        running = asyncio.create_task(worker.run())
        if when is not None:
            await until(when)
            while not running.done():
                # A wait that is over at this very moment swallows it (wait_for, Python 3.11).
                running.cancel()
                await asyncio.sleep(0.05)
        (ended,) = await asyncio.gather(running, return_exceptions=True)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        for pool in (worker._db, worker._heavy_db, worker._numbers):
            pool.shutdown(wait=True, cancel_futures=True)
        assert ended is None or isinstance(ended, Killed | asyncio.CancelledError)
        return ended is not None

    killed = worker_run(vanish())
    Batch.objects.filter(status=WorkStatus.LEASED).update(
        lease_until=timezone.now() - timedelta(seconds=1)
    )
    return bool(killed)


@pytest.mark.parametrize("after", [1, 17, 45])
def test_a_killed_worker_changes_nothing(
    undisturbed: tuple[Dataset, tuple[Any, ...], int],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
) -> None:
    dataset, expected, calls = undisturbed
    session = start(dataset, chat=model)
    with told.silent_from(after), pytest.MonkeyPatch.context() as patch:
        patch.setattr("analyses.runner.ports.owner_name", lambda: DEAD)
        kill(session, lambda: told.requests >= after)
    assert session.batches.filter(status=WorkStatus.LEASED).exists()
    sent = LlmCall.objects.filter(state=CallState.SENT).count()
    services.tick()
    session = run(session)
    assert session.status == SessionStatus.COMPLETED, session.detail
    check_books(session)
    assert picture(session) == expected
    assert set(told.settled.values()) == {1}
    assert LlmCall.objects.count() == calls
    # Only what was in flight is asked again, and the books say so.
    twice = sum(count - 1 for count in told.seen().values())
    assert twice <= sent <= 4 + 8
    assert export.run_json(session)["repeated_calls"] == sent
    assert export.run_json(session)["in_doubt"] == 0


def test_a_worker_killed_in_every_stage_changes_nothing(
    undisturbed: tuple[Dataset, tuple[Any, ...], int],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
) -> None:
    dataset, expected, _ = undisturbed
    session = start(dataset, chat=model)
    kills = []
    for step in plan.STAGES:
        if kill_at_claim(session, step.key):
            kills.append(step.key)
        services.tick()
    assert len(kills) >= 7, kills
    session = run(session)
    assert session.status == SessionStatus.COMPLETED, session.detail
    check_books(session)
    assert picture(session) == expected
    assert set(told.settled.values()) == {1}


def kill_at_claim(session: AnalysisSession, key: str) -> bool:
    """Kill a worker in the moment in which it has claimed a batch of a stage."""
    claim = work.claim

    def fatal(candidates: Any, *, owner: str) -> Any:
        batch = claim(candidates, owner=owner)
        if batch is not None and batch.stage == key:
            raise Killed
        return batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "claim", fatal)
        return kill(session)


def test_leases_stolen_from_a_living_worker_change_nothing(
    undisturbed: tuple[Dataset, tuple[Any, ...], int],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A machine that slept: its leases ran out, it does not know, and another took over."""
    dataset, expected, _ = undisturbed
    session = start(dataset, chat=model)
    monkeypatch.setattr(work, "RENEW_EVERY", 3600.0)
    stolen = []

    def steal() -> None:
        mine = Batch.objects.filter(session=session, status=WorkStatus.LEASED, attempt=1)
        stolen.extend(mine.values_list("pk", flat=True))
        mine.update(lease_until=timezone.now() - timedelta(seconds=1))
        services.tick()
        connections.close_all()

    async def disturbed() -> None:
        running = asyncio.create_task(Worker(session_id=session.pk, idle_exit=0.5).run())
        while not running.done():
            await asyncio.sleep(0.1)
            await asyncio.to_thread(steal)
        await running

    worker_run(disturbed())
    session = run(session)
    assert stolen
    assert session.status == SessionStatus.COMPLETED, session.detail
    check_books(session)
    assert picture(session) == expected


def test_a_worker_that_fails_leaves_no_heart_behind(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else its process would hold the leases of work that nobody does, for ever."""
    session = start(talks(12))
    worker = Worker(session_id=session.pk)

    async def breaks() -> bool:
        raise OSError("too many open files")

    def still(owner: str) -> None:
        raise OSError("the database is away")

    monkeypatch.setattr(worker, "_save_ready", breaks)
    monkeypatch.setattr("analyses.runner.worker.still", still)
    with pytest.raises(OSError, match="database"):
        worker_run(worker.run())
    assert not worker._heart._thread.is_alive()
    monkeypatch.undo()
    Batch.objects.filter(status=WorkStatus.LEASED).update(
        lease_until=timezone.now() - timedelta(seconds=1)
    )
    services.tick()
    assert run(session).status == SessionStatus.COMPLETED
