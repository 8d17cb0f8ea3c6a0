"""Row 1: a worker is killed at each point between a claim and its end.

Here an exception that nobody catches stands for the kill, and nothing is drained or given back;
`tests/crash` kills real processes at the same points.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from analyses import services, tasks
from analyses.export import run_json
from analyses.models import AnalysisSession, Batch, SessionStatus
from core.crashpoints import POINTS
from core.models import WorkStatus
from projects.models import Dataset
from providers.clients.scripted import Scenario
from providers.models import CallState, LlmCall, ModelDeployment
from tests.analyses.worker.support import Told, check_books, run
from tests.analyses.worker.test_disturbances import Killed, kill
from tests.faults.support import expire, forget_calls, tick, told_by_page

pytestmark = pytest.mark.django_db(transaction=True)

PLACES = ("providers.gateway.sending", "analyses.services.advance", "core.work")


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``killed_at(session, point, passing)``: a worker dies at the n-th passing of a point."""

    def die(session: AnalysisSession, point: str, passing: int) -> None:
        assert point in POINTS
        passed = [0]

        def reach(name: str) -> None:
            if name != point:
                return
            passed[0] += 1
            if passed[0] >= passing:
                raise Killed

        with monkeypatch.context() as patch:
            for place in PLACES:
                patch.setattr(sys.modules[place], "reach", reach)
            kill(session, lambda: passed[0] >= passing)
        assert passed[0] >= passing

    return die


@pytest.fixture
def session(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
) -> AnalysisSession:
    told.play(Scenario(latency=0.01))
    model.provider.concurrency = 1
    model.provider.save()
    return start(talks(24), chat=model, concurrency=1)


def resumed(session: AnalysisSession) -> AnalysisSession:
    """Its lease and its calls have run out: another worker goes on."""
    expire(session)
    forget_calls()
    tick(session)
    session = run(session)
    assert session.status == SessionStatus.COMPLETED, session.detail
    check_books(session)
    return session


def twice(told: Told) -> int:
    """Requests that the provider got more than once, which it may bill twice."""
    return sum(count - 1 for count in told.seen().values())


def test_before_the_intent_nothing_happened(
    session: AnalysisSession, told: Told, killed_at: Callable[..., None]
) -> None:
    killed_at(session, "before_intent", 4)
    # Of the call that died there is no row; another one may have been on the wire beside it.
    assert told.requests == LlmCall.objects.count()
    out = LlmCall.objects.filter(state=CallState.SENT).count()
    assert out <= 1
    session = resumed(session)
    # Its answer may have been kept at the last moment; then it is not asked again.
    assert twice(told) == run_json(session)["repeated_calls"] <= out


def test_after_the_intent_it_is_in_doubt(
    session: AnalysisSession, told: Told, killed_at: Callable[..., None]
) -> None:
    """Whether its bytes left cannot be known: it is asked again, and counted as a repeat."""
    killed_at(session, "after_intent", 4)
    out = LlmCall.objects.filter(state=CallState.SENT).count()
    assert out >= 1
    session = resumed(session)
    assert run_json(session)["repeated_calls"] == out
    assert twice(told) <= out
    assert not LlmCall.objects.filter(state=CallState.SENT).exists()


def test_after_the_answer_and_before_it_is_kept_it_is_in_doubt(
    session: AnalysisSession, told: Told, killed_at: Callable[..., None]
) -> None:
    killed_at(session, "after_response", 4)
    out = LlmCall.objects.filter(state=CallState.SENT).count()
    assert out >= 1
    before = told_by_page(tick_only(session))
    assert "cut off on the way may be paid twice" in before
    session = resumed(session)
    assert 1 <= twice(told) <= out
    assert run_json(session)["repeated_calls"] == out


def tick_only(session: AnalysisSession) -> AnalysisSession:
    """The lease is taken back; nobody works yet."""
    expire(session)
    return tick(session)


def test_after_it_is_kept_a_replay_costs_nothing(
    session: AnalysisSession, told: Told, killed_at: Callable[..., None]
) -> None:
    killed_at(session, "after_settle", 4)
    kept = set(LlmCall.objects.filter(state=CallState.OK).values_list("pk", flat=True))
    assert len(kept) >= 3
    paid = {call.pk: call.cost for call in LlmCall.objects.filter(pk__in=kept)}
    session = resumed(session)
    again = LlmCall.objects.filter(pk__in=kept)
    assert {call.pk: call.cost for call in again} == paid
    assert set(again.values_list("sends", flat=True)) == {1}
    assert set(again.values_list("repeats", flat=True)) == {0}


@pytest.mark.parametrize("point", ["before_finish", "in_finish"])
def test_before_the_commit_of_a_batch_everything_is_replayed(
    session: AnalysisSession, told: Told, killed_at: Callable[..., None], point: str
) -> None:
    """Passing 4 is the first batch that was read: three were prepared before."""
    killed_at(session, point, 4)
    answered = LlmCall.objects.filter(state=CallState.OK).count()
    session.refresh_from_db()
    held = session.batches.filter(status=WorkStatus.LEASED)
    assert held.exists()
    done = session.read_count
    session = resumed(session)
    assert answered >= 0
    assert done <= session.read_count == 24
    assert set(LlmCall.objects.values_list("repeats", flat=True)) <= {0, 1}
    assert set(told.settled.values()) == {1}


def test_after_the_commit_a_batch_is_done(
    session: AnalysisSession, told: Told, killed_at: Callable[..., None]
) -> None:
    killed_at(session, "after_finish", 4)
    done = dict(session.batches.filter(status=WorkStatus.DONE).values_list("pk", "fence"))
    assert len(done) >= 4
    session = resumed(session)
    again = dict(Batch.objects.filter(pk__in=done).values_list("pk", "fence"))
    assert again == done, "a finished batch was claimed again"
    assert set(told.settled.values()) == {1}


def test_a_wake_up_after_the_end_does_nothing(session: AnalysisSession, told: Told) -> None:
    session = resumed(session)
    asked, seq = told.requests, session.batches.count()
    tasks.pump(session.pk)
    services.tick()
    session.refresh_from_db()
    assert (told.requests, session.batches.count()) == (asked, seq)
    assert session.status == SessionStatus.COMPLETED
