"""Row 6: workers while the database is away, breaks a connection, or rolls a transaction back."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.db import (
    IntegrityError,
    connection,
)
from django.db.backends.base.base import BaseDatabaseWrapper

from analyses import services
from analyses.models import AnalysisSession, Batch, SessionStatus
from analyses.runner.worker import Worker
from core import database, heartbeat, work
from core.models import WorkStatus
from projects.models import Dataset
from providers.clients.scripted import Scenario
from providers.models import ModelDeployment
from tests.analyses.worker.support import Told, run, worker_run
from tests.faults.support import (
    check_ledger,
    expire,
    forget_calls,
    gone,
    outages,
    postgres_error,
    tick,
    told_by_page,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_outage_fails_no_conversation_and_no_run(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Away for a while in the middle of reading: the worker waits, and goes on by itself."""
    told.play(Scenario(latency=0.03))
    session = start(talks(60), chat=model)
    with outages(monkeypatch) as outage:

        async def disturbed() -> None:
            running = asyncio.create_task(Worker(session_id=session.pk, idle_exit=0.5).run())
            for after in (4, 20, 40):
                while told.requests < after:
                    await asyncio.sleep(0.01)
                outage.away.set()
                await asyncio.sleep(0.4)
                outage.away.clear()
            await running

        worker_run(disturbed())
    assert outage.refused > 3
    session = run(session)
    assert session.status == SessionStatus.COMPLETED, session.detail
    assert session.failed_count == 0
    check_ledger(session, told)
    assert told.requests == len(told.settled), "a call was paid twice"
    assert set(session.batches.values_list("attempt", flat=True)) == {1}
    assert "Complete." in told_by_page(session)


def test_an_outage_longer_than_the_leases_ends_the_worker_and_not_the_run(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The constants of 60 seconds made short. Nothing is sent once leases may be another's."""
    from datetime import timedelta

    told.play(Scenario(latency=0.03))
    session = start(talks(60), chat=model)
    monkeypatch.setattr(work, "LEASE", timedelta(seconds=1.0))
    monkeypatch.setattr(work, "RENEW_EVERY", 0.1)
    monkeypatch.setattr(heartbeat, "SELF_FENCE_SECONDS", 0.6)
    monkeypatch.setattr(heartbeat, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(heartbeat, "LEAVE_AFTER", 0.6)
    monkeypatch.setattr(
        "providers.gateway.journal.GroupCommitJournal.__init__.__kwdefaults__",
        {
            "linger": 0.02,
            "max_rows": 32,
            "retry_for": 0.5,
        },
    )
    with outages(monkeypatch) as outage:

        async def disturbed() -> None:
            running = asyncio.create_task(Worker(session_id=session.pk, idle_exit=0.5).run())
            while told.requests < 10:
                await asyncio.sleep(0.01)
            outage.away.set()
            await asyncio.wait_for(running, 100)

        worker_run(disturbed())
        assert outage.refused
    monkeypatch.undo()
    expire(session)
    forget_calls()
    session = tick(session)
    assert session.status == SessionStatus.RUNNING
    session = run(session)
    assert session.status == SessionStatus.COMPLETED, session.detail
    assert session.failed_count == 0
    assert "taken back" in told_by_page(session)


@pytest.mark.skipif(settings.SQLITE, reason="about connections to a server")
def test_connections_ended_by_the_server_again_and_again_lose_nothing(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
) -> None:
    """What a restart does to everybody: all connections end at once, whatever they are at."""
    told.play(Scenario(latency=0.03))
    session = start(talks(60), chat=model)
    ended: list[int] = []

    def end_all() -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            ended.append(cursor.fetchone()[0])
        connection.close()

    async def disturbed() -> None:
        running = asyncio.create_task(Worker(session_id=session.pk, idle_exit=0.5).run())
        for _ in range(8):
            await asyncio.sleep(0.3)
            await asyncio.to_thread(end_all)
        await running

    worker_run(disturbed())
    assert sum(ended) > 0
    session = run(session)
    assert session.status == SessionStatus.COMPLETED, _held(session)
    assert session.failed_count == 0
    check_ledger(session, told)


@pytest.mark.parametrize(
    "make",
    [
        lambda: postgres_error("DeadlockDetected"),
        lambda: postgres_error("SerializationFailure"),
        lambda: postgres_error("TooManyConnections"),
    ],
)
def test_a_rolled_back_save_is_made_again(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[], Exception],
) -> None:
    session = start(talks(24))
    failures = iter([True, False, True, True])
    real = work.finish

    def shaky(item: Any, **values: Any) -> None:
        real(item, **values)
        if next(failures, False):
            raise make()

    monkeypatch.setattr(work, "finish", shaky)
    session = run(session)
    assert session.status == SessionStatus.COMPLETED, session.detail
    assert set(session.batches.values_list("attempt", flat=True)) == {1}
    check_ledger(session, told)


def test_a_commit_nobody_heard_of_is_not_made_twice(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The connection broke between COMMIT and its answer."""
    session = start(talks(24))
    broke = []

    def saved(batch: Batch, *args: Any, **how: Any) -> Any:
        result = real(batch, *args, **how)
        if not broke:
            broke.append(batch.pk)
            raise gone()
        return result

    real = services.saved
    for place in ("analyses.runner.ranges", "analyses.runner.job"):
        monkeypatch.setattr(f"{place}.saved", saved)
    session = run(session)
    assert broke
    assert session.status == SessionStatus.COMPLETED, session.detail
    check_ledger(session, told)


def test_a_claim_nobody_heard_of_is_given_back(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every third commit of a worker's thread goes through, and its answer is lost.

    One worker completes the analysis: nothing may wait until a lease runs out.
    """
    session = start(talks(60))
    commits: Counter[str] = Counter()
    real = BaseDatabaseWrapper._commit
    monkeypatch.setattr("analyses.runner.patience.AWAY_POLL", 0.01)

    def unheard(self: BaseDatabaseWrapper) -> None:
        real(self)
        thread = threading.current_thread().name
        commits[thread] += 1
        if thread.startswith("db") and commits[thread] % 3 == 0:
            raise gone()

    monkeypatch.setattr(BaseDatabaseWrapper, "_commit", unheard)
    session = run(session)
    assert commits["db_0"] > 9
    assert session.status == SessionStatus.COMPLETED, _held(session)
    assert set(session.batches.values_list("attempt", flat=True)) == {1}
    check_ledger(session, told)


def _held(session: AnalysisSession) -> list[tuple[Any, ...]]:
    return list(
        session.batches.exclude(status=WorkStatus.DONE).values_list(
            "stage", "seq", "status", "attempt", "owner", "error"
        )
    )


def test_a_broken_connection_of_a_thread_is_replaced(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    raw = connection.connection
    connection.errors_occurred = True
    if connection.vendor == "postgresql":
        raw.close()
    database.mend()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


def test_a_fault_of_ours_is_still_counted(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only what passes is waited for: a constraint that is broken every time must end."""
    session = start(talks(12))

    def broken(*_: Any, **__: Any) -> None:
        raise IntegrityError("twice")

    monkeypatch.setattr("analyses.runner.saving.readings", broken)
    run(session)
    tried = session.batches.filter(stage="facets")
    assert max(tried.values_list("attempt", flat=True)) >= 1
    assert "IntegrityError" in " ".join(tried.values_list("error", flat=True))


def test_the_supervisor_says_an_outage_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from core.supervision import watch

    said: list[str] = []
    monkeypatch.setattr(watch.logger, "error", said.append)

    def failing() -> None:
        raise gone()

    watch._Guard()(failing)
    assert len(said) == 1
    assert "asked again" in said[0]


def test_the_tick_after_an_outage_takes_everything_up_again(
    talks: Callable[..., Dataset], start: Callable[..., AnalysisSession]
) -> None:
    session = start(talks(24))
    batch = work.claim(Batch.objects.filter(session=session), owner="elsewhere:1:1")
    assert batch is not None
    expire(session)
    services.tick()
    batch.refresh_from_db()
    assert batch.status == WorkStatus.PENDING
