"""Row 5: wake-ups in the queue are lost, doubled or all gone in the middle of a run."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest
from django_q.models import OrmQ

from analyses import services, tasks
from analyses.models import AnalysisSession, SessionStatus
from analyses.runner.worker import Worker
from core import q2, work
from core.models import Beat
from projects.models import Dataset
from providers.clients.scripted import Scenario
from providers.models import LlmCall, ModelDeployment
from tests.analyses.worker.support import LIMIT, Told, check_books, run, worker_run
from tests.faults.support import close_connections, told_by_page

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_lost_wake_up_is_sent_again_by_the_tick(
    talks: Callable[..., Dataset], start: Callable[..., AnalysisSession]
) -> None:
    session = start(talks(12))
    services.tick()
    assert q2.waiting() > 0
    OrmQ.objects.all().delete()
    services.tick()
    names = [row.task["func"] for row in OrmQ.objects.all()]
    assert names
    assert set(names) == {"analyses.tasks.pump"}
    assert run(session).status == SessionStatus.COMPLETED


def test_the_tick_does_not_fill_the_queue(
    talks: Callable[..., Dataset], start: Callable[..., AnalysisSession]
) -> None:
    start(talks(12))
    for _ in range(20):
        services.tick()
    assert OrmQ.objects.count() <= 2


def test_the_queue_emptied_in_the_middle_of_a_run_is_filled_again(
    talks: Callable[..., Dataset], start: Callable[..., AnalysisSession], told: Told
) -> None:
    """The pump that works is not disturbed; when it is gone, the tick wakes the next one."""
    session = start(talks(60))

    async def disturbed() -> None:
        worker = Worker(session_id=session.pk, idle_exit=0.3)
        running = asyncio.create_task(worker.run())
        await asyncio.sleep(0.3)
        await asyncio.to_thread(empty)
        worker._until = 0.0
        await running

    worker_run(disturbed())
    session.refresh_from_db()
    assert session.status == SessionStatus.RUNNING
    services.tick()
    assert q2.waiting() > 0
    session = run(session)
    assert session.status == SessionStatus.COMPLETED
    check_books(session)


def empty() -> None:
    OrmQ.objects.all().delete()
    close_connections()


def test_ten_pumps_at_once_do_nothing_twice(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A row handed out ten times: ten workers beside each other share the work."""
    told.play(Scenario(latency=0.01))
    session = start(talks(60), chat=model)
    finished: Counter[int] = Counter()
    real = work.finish

    def finish(item: work.LeasedWork, **values: object) -> None:
        real(item, **values)
        finished[item.pk] += 1

    monkeypatch.setattr(work, "finish", finish)

    async def crowd() -> None:
        async with asyncio.timeout(LIMIT):
            crew = [Worker(session_id=session.pk, idle_exit=0.5) for _ in range(10)]
            await asyncio.gather(*(one.run() for one in crew))

    worker_run(crowd())
    session.refresh_from_db()
    if session.status != SessionStatus.COMPLETED:
        session = run(session)
    assert session.status == SessionStatus.COMPLETED, session.detail
    check_books(session)
    assert set(finished.values()) == {1}
    assert set(told.settled.values()) == {1}
    assert told.requests == LlmCall.objects.count()
    assert "Complete." in told_by_page(session)


def test_a_pump_with_nothing_to_do_ends_and_leaves_no_beat(db: None) -> None:
    tasks.pump("arguments", 3, {"of": "another version"})
    assert not Beat.objects.filter(name__startswith="pump:").exists()
