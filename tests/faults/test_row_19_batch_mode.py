"""Row 19: the provider's batch mode breaks off at every point between a call and its answer.

An exception that nobody catches stands for the kill of the process. Whatever happens, the
provider's bill has one line for every conversation, at half the price, and no call stays in doubt.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from analyses.models import AnalysisSession, SessionStatus
from providers.models import BulkState, CallState, ProviderBatch
from tests.analyses.worker.batch_server import collected, facet_calls, later, read_out, waiting
from tests.analyses.worker.support import run
from tests.analyses.worker.test_batch_mode import Serve, begin, check_paid, serve, soon
from tests.analyses.worker.test_disturbances import DEAD, Killed, kill
from tests.faults.support import expire, tick, told_by_page

__all__ = ["begin", "serve", "soon"]

pytestmark = pytest.mark.django_db(transaction=True)

PLACES = ("providers.gateway.bulk", "providers.gateway.collecting")

Begin = Callable[..., AnalysisSession]
Dies = Callable[..., None]


@pytest.fixture
def dies(monkeypatch: pytest.MonkeyPatch) -> Dies:
    """``dies(point, work)``: the process that works dies at a point."""

    def die(point: str, work: Callable[[Callable[[], bool]], object]) -> None:
        passed: list[str] = []

        def reach(name: str) -> None:
            if name == point:
                passed.append(name)
                raise Killed

        with monkeypatch.context() as patch:
            for place in PLACES:
                patch.setattr(sys.modules[place], "reach", reach)
            patch.setattr("analyses.runner.ports.owner_name", lambda: DEAD)
            patch.setattr("providers.runner.bulk.owner_name", lambda: DEAD)
            work(lambda: bool(passed))
        assert passed

    return die


def killed_worker(session: AnalysisSession) -> Callable[[Callable[[], bool]], object]:
    def work(passed: Callable[[], bool]) -> None:
        kill(session, passed)
        expire(session)
        tick(session)

    return work


def test_killed_after_it_was_taken_and_before_its_number_is_kept(
    begin: Begin, serve: Serve, dies: Dies
) -> None:
    """It is found by what it carries, and nothing is handed over twice."""
    server = serve()
    session = begin("anthropic")

    dies("bulk_submitted", killed_worker(session))
    batch = ProviderBatch.objects.get()
    assert (batch.state, batch.remote_id) == (BulkState.PREPARING, "")

    check_paid(read_out(session), server)
    assert ProviderBatch.objects.count() == 1


def test_killed_before_it_was_taken(begin: Begin, serve: Serve, dies: Dies) -> None:
    """The provider does not list it, so it is handed over again: nobody billed it."""
    server = serve()
    session = begin("mistral")

    dies("bulk_opened", killed_worker(session))
    session = read_out(session, 2)
    assert session.status == SessionStatus.RUNNING
    assert waiting(session)

    later(minutes=5)
    check_paid(read_out(session), server)
    states = ProviderBatch.objects.order_by("pk").values_list("state", flat=True)
    assert list(states) == [BulkState.LOST, BulkState.ENDED]


def test_killed_after_its_number_is_kept(begin: Begin, serve: Serve, dies: Dies) -> None:
    server = serve()
    session = begin()

    dies("bulk_stored", killed_worker(session))
    assert ProviderBatch.objects.get().state == BulkState.WORKING
    assert "cut off" not in told_by_page(session)

    check_paid(read_out(session), server)
    assert ProviderBatch.objects.count() == 1


@pytest.mark.parametrize("point", ["bulk_kept", "bulk_collected"])
def test_killed_while_it_is_collected(
    begin: Begin,
    serve: Serve,
    dies: Dies,
    soon: Callable[[], None],
    point: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was settled stays settled; the rest is collected by whoever looks next."""
    monkeypatch.setattr("providers.gateway.collecting.CHUNK", 10)
    server = serve(missing=0.2)
    session = run(begin())
    settled = facet_calls(session).filter(state=CallState.OK)

    def collects(passed: Callable[[], bool]) -> None:
        with pytest.raises(Killed):
            collected()

    dies(point, collects)
    kept = {call.pk: (call.cost, call.settled_at) for call in settled}
    assert len(kept) >= 10
    assert ProviderBatch.objects.get().state == BulkState.WORKING

    soon()
    session = read_out(session)

    check_paid(session, server)
    assert {pk: (call.cost, call.settled_at) for pk, call in settled.in_bulk(kept).items()} == kept


def test_the_ledger_agrees_with_the_bill(begin: Begin, serve: Serve) -> None:
    server = serve(missing=0.2, expired=0.2, failed=0.2)
    session = read_out(begin())

    check_paid(session, server)
    paid = sum(call.cost for call in facet_calls(session))
    assert 0 < paid <= session.cost
    assert not session.doubt_count
