"""Row 3: a worker is frozen past its lease and then goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from analyses.models import AnalysisSession, Batch, SessionStatus
from analyses.runner.worker import Worker
from core import heartbeat, work
from core.models import WorkStatus
from projects.models import Dataset
from providers.clients.scripted import Scenario
from providers.models import CallState, LlmCall, ModelDeployment
from tests.analyses.worker.support import Told, check_books, run, worker_run
from tests.faults.support import close_connections, expire, tick, told_by_page

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def asleep(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """``asleep(seconds)``: the machine's clock is that much further at the next look."""
    ahead = [0.0]
    real = heartbeat._boot_time
    monkeypatch.setattr(heartbeat, "_boot_time", lambda: real() + ahead[0])

    def sleep(seconds: float) -> None:
        ahead[0] += seconds

    return sleep


def test_a_zombie_sends_nothing_more_and_writes_nothing(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    asleep: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Frozen for 90 s with calls in flight; meanwhile others took its leases over."""
    told.play(Scenario(latency=0.15))
    session = start(talks(60), chat=model)
    finished: list[int] = []
    real = work.finish

    def finish(item: Any, **values: Any) -> None:
        real(item, **values)
        finished.append(item.pk)

    monkeypatch.setattr(work, "finish", finish)
    at_wake = [0]

    def freeze() -> None:
        expire(session)
        tick(session)
        other = Batch.objects.filter(session=session, stage="facets", status=WorkStatus.PENDING)
        while work.claim(other, owner="elsewhere:1:1"):
            pass
        close_connections()

    async def disturbed() -> None:
        worker = Worker(session_id=session.pk, idle_exit=0.5)
        running = asyncio.create_task(worker.run())
        while told.requests < 6:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(freeze)
        finished.clear()
        asleep(90.0)
        at_wake[0] = told.requests
        await running

    worker_run(disturbed())
    assert told.requests == at_wake[0], "a call was sent after the wake-up"
    taken = Batch.objects.filter(session=session, owner="elsewhere:1:1")
    assert taken.exists()
    assert not set(finished) & set(taken.values_list("pk", flat=True))
    assert not LlmCall.objects.filter(state=CallState.SENT).exists(), "an answer was thrown away"
    # The other one dies as well; a third worker completes everything.
    expire(session)
    tick(session)
    session = run(session)
    assert session.status == SessionStatus.COMPLETED, session.detail
    check_books(session)
    assert set(told.settled.values()) == {1}
    assert "taken back" in told_by_page(session)


def test_a_late_finish_hits_no_row(
    talks: Callable[..., Dataset], start: Callable[..., AnalysisSession]
) -> None:
    session = start(talks(12))
    late = work.claim(Batch.objects.filter(session=session), owner="elsewhere:1:1")
    assert late is not None
    expire(session)
    tick(session)
    again = work.claim(Batch.objects.filter(session=session), owner="elsewhere:2:2")
    assert again is not None
    assert (again.pk, again.fence > late.fence) == (late.pk, True)
    for leave in (work.finish, work.release, lambda item: work.fail(item, "late")):
        with pytest.raises(work.LeaseLost):
            leave(late)
    again.refresh_from_db()
    assert (again.status, again.owner) == (WorkStatus.LEASED, "elsewhere:2:2")


def test_the_heart_stays_tripped_after_a_long_sleep(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    asleep: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Renewing what is left must not allow calls that waited through the sleep."""
    session = start(talks(12))
    heart = heartbeat.Heartbeat(lambda lost: None)
    item = work.claim(Batch.objects.filter(session=session), owner=work.owner_name())
    assert item is not None
    heart.hold(item)
    assert heart.safe
    asleep(25.0)
    assert not heart.safe
    heart._renew()
    assert heart.renewing
    assert not heart.hopeless
    assert not heart.safe
