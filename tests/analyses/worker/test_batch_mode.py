"""Batch mode end to end over a loopback socket, in the shapes of three providers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from analyses import services
from analyses.models import AnalysisSession, Outcome, SessionStatus
from analyses.runner import terminal
from analyses.selectors import starting
from analyses.selectors.estimates import Estimate
from analyses.services.sessions import claimable
from core import work
from core.errors import Invalid
from projects.models import Dataset
from providers.clients.bulk import OpenAIBatches
from providers.gateway.bulk import BulkLimits
from providers.gateway.errors import ErrorClass, Fault
from providers.models import (
    BulkState,
    CallState,
    LlmAttempt,
    LlmCall,
    ModelDeployment,
    Provider,
    ProviderBatch,
    ProviderBatchLine,
)
from providers.runner.bulk import DatabaseBulkStore
from providers.services import doubt_lost_calls
from tests.analyses.worker.batch_server import (
    AFTER_READING,
    BatchServer,
    collected,
    facet_calls,
    finished,
    later,
    read_out,
    waiting,
)
from tests.analyses.worker.support import check_books, run
from tests.faults.support import told_by_page

pytestmark = pytest.mark.django_db(transaction=True)

SIZE = 30

SHAPES = {"openai": "openai", "anthropic": "anthropic", "mistral": "openai"}
"""Preset and kind of provider."""

Begin = Callable[..., AnalysisSession]
Serve = Callable[..., BatchServer]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Batches are handed over once all conversations are in, or after a moment of quiet.

    Called it shortens the moment, for what is left over from a batch and fills none: then a slow
    machine may make two batches of it.
    """

    def limits(quiet: float) -> None:
        monkeypatch.setattr(
            "providers.gateway.bulk.BulkLimits", partial(BulkLimits, SIZE, quiet=quiet)
        )

    monkeypatch.setattr("providers.gateway.bulk.TICK", 0.05)
    limits(1.0)
    return partial(limits, 0.1)


@pytest.fixture
def serve(tmp_path: Path, settings: Any) -> Iterator[Serve]:
    servers: list[BatchServer] = []

    def begin(**batches: Any) -> BatchServer:
        server = BatchServer(tmp_path, **batches).start()
        servers.append(server)
        settings.ALLOW_PRIVATE_PROVIDERS = True
        Provider.objects.update(kind="openai", preset="openai", base_url=server.url)
        ModelDeployment.objects.update(offers_batches=True)
        return server

    yield begin
    for server in servers:
        server.stop()


@pytest.fixture
def begin(
    talks: Callable[..., Dataset], start: Callable[..., AnalysisSession], model: ModelDeployment
) -> Begin:
    def started(shape: str = "openai", size: int = SIZE) -> AnalysisSession:
        Provider.objects.update(preset=shape, kind=SHAPES[shape])
        model.refresh_from_db()
        return start(talks(size), chat=model, params={"bulk": True})

    return started


def check_paid(session: AnalysisSession, server: BatchServer) -> None:
    """Every conversation was read, and its answer billed once, at half the price."""
    if session.ended:
        check_books(session)
        assert session.status == SessionStatus.COMPLETED, (session.status, session.detail)
    assert session.items.filter(outcome=Outcome.READ).count() == session.total, session.detail
    assert session.read_count == session.total
    billed = server.billed()
    assert len(billed) == session.total
    assert set(billed.values()) == {1}
    calls = facet_calls(session)
    assert set(calls.values_list("state", flat=True)) == {CallState.OK}
    for call in calls:
        full = (call.tokens_in * 1.0 + call.tokens_out * 2.0) / 1e6
        assert float(call.cost) == pytest.approx(full / 2)
        assert (call.reserved, call.repeats) == (0, 0)
    assert not LlmAttempt.objects.filter(in_doubt=True).exists()
    assert not LlmCall.objects.exclude(state=CallState.OK).exists()


@pytest.mark.parametrize("shape", SHAPES)
def test_an_analysis_is_read_in_batches(begin: Begin, serve: Serve, shape: str) -> None:
    server = serve()

    session = run(begin(shape))

    assert session.status == SessionStatus.RUNNING
    batch = ProviderBatch.objects.get()
    assert (batch.state, batch.size, batch.analysis_id) == (BulkState.WORKING, SIZE, session.pk)
    assert waiting(session) == session.batches.filter(stage="facets").count()

    said = told_by_page(session)
    assert f"{SIZE} conversations are at Scripted, in batches at half the price." in said
    assert "0 collected so far" in said
    assert "handed to the provider" in said

    session = finished(session)

    check_paid(session, server)
    assert "is over" in told_by_page(session)
    assert session.read_count == SIZE
    batch.refresh_from_db()
    assert (batch.state, batch.collected, batch.missing) == (BulkState.ENDED, SIZE, 0)
    assert not ProviderBatchLine.objects.exists()


@pytest.mark.parametrize(
    ("shape", "word"), [("openai", "missing"), ("anthropic", "expired"), ("mistral", "failed")]
)
def test_lines_without_an_answer_are_asked_again(
    begin: Begin, serve: Serve, soon: Callable[[], None], shape: str, word: str
) -> None:
    server = serve(**{word: 0.4})

    session = run(begin(shape))
    collected()

    first = ProviderBatch.objects.get()
    assert first.state == BulkState.ENDED
    assert 0 < first.collected < SIZE
    left = SIZE - first.collected
    lines = ProviderBatchLine.objects.filter(batch=first)
    assert lines.count() == left
    soon()
    run(session)
    others = ProviderBatch.objects.exclude(pk=first.pk)
    assert sum(others.values_list("size", flat=True)) == left

    check_paid(read_out(session), server)


def test_a_line_that_never_comes_is_skipped_with_its_reason(begin: Begin, serve: Serve) -> None:
    server = serve(missing=0.3, bad_times=99)

    session = finished(begin())

    assert session.status == SessionStatus.PARTIAL
    skipped = session.items.filter(outcome="failed")
    assert set(skipped.values_list("error_class", flat=True)) == {"bad_answer"}
    assert "no answer in 2 batches" in skipped[0].error
    assert session.read_count == SIZE - skipped.count() == len(server.billed())
    assert not facet_calls(session).filter(state=CallState.SENT).exists()


def test_a_batch_the_provider_refuses_whole_is_handed_over_again(
    begin: Begin, serve: Serve
) -> None:
    server = serve(refused=2)

    session = read_out(begin())

    check_paid(session, server)
    assert [row.missing for row in ProviderBatch.objects.order_by("pk")] == [SIZE, SIZE, 0]


def test_a_provider_that_takes_no_batch_blocks_the_analysis(begin: Begin, serve: Serve) -> None:
    server = serve(refused=99)

    session = finished(begin())

    assert session.status == SessionStatus.BLOCKED
    assert session.reason == "quota"
    assert not server.billed()


def test_a_number_lost_on_the_wire_is_found_by_the_uid(begin: Begin, serve: Serve) -> None:
    server = serve(dropped=1)

    session = run(begin())

    batch = ProviderBatch.objects.get()
    assert (batch.state, batch.remote_id, batch.owner) == (BulkState.PREPARING, "", "")
    assert waiting(session)

    check_paid(read_out(session), server)
    assert ProviderBatch.objects.count() == 1


def test_a_batch_that_never_arrived_is_handed_over_again(
    begin: Begin, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies between the commit and the request."""
    server = serve()
    with monkeypatch.context() as patch:
        patch.setattr(OpenAIBatches, "submit", silent)
        session = run(begin())
    lost = ProviderBatch.objects.get()
    collected()
    lost.refresh_from_db()
    assert lost.state == BulkState.PREPARING, "it may yet be listed"

    later(minutes=5)
    session = read_out(session)

    lost.refresh_from_db()
    assert lost.state == BulkState.LOST
    check_paid(session, server)


async def silent(*args: Any) -> str:
    raise Fault(ErrorClass.TIMEOUT, "no answer in time")


def test_calls_gathered_when_their_worker_died_are_not_in_doubt(
    begin: Begin, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    session = begin()

    async def dies(*args: Any) -> Any:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(DatabaseBulkStore, "open", dies)
        run(session, seconds=2)
    calls = facet_calls(session)
    assert calls.count() == SIZE
    calls.update(state=CallState.SENT, owner="elsewhere:1:1", sent_until=timezone.now())
    doubt_lost_calls()

    assert set(calls.values_list("state", flat=True)) == {CallState.FAILED}
    assert not LlmAttempt.objects.filter(in_doubt=True).exists()
    assert not server.bill.read_text()


def test_a_pause_leaves_the_batch_and_resuming_reads_it(
    begin: Begin, serve: Serve, analyst: User
) -> None:
    server = serve()
    session = run(begin())

    services.pause(actor=analyst, session=session)
    session.refresh_from_db()
    assert session.status == SessionStatus.PAUSED
    collected()

    assert ProviderBatch.objects.get().state == BulkState.ENDED
    assert set(facet_calls(session).values_list("state", flat=True)) == {CallState.OK}
    assert run(session).read_count == 0, "a paused analysis reads nothing"

    services.resume(actor=analyst, session=session)
    check_paid(read_out(session), server)


def test_a_stop_cancels_the_batch_at_the_provider(
    begin: Begin, serve: Serve, analyst: User
) -> None:
    server = serve(seconds=600)
    session = run(begin())

    services.cancel(actor=analyst, session=session)
    services.tick()
    collected()
    collected()

    batch = ProviderBatch.objects.get()
    assert (batch.state, batch.collected) == (BulkState.ENDED, 0)
    session.refresh_from_db()
    assert session.status == SessionStatus.CANCELLED
    assert set(facet_calls(session).values_list("state", flat=True)) == {CallState.FAILED}
    assert not server.billed()


def test_waiting_costs_nothing(begin: Begin, serve: Serve) -> None:
    serve(seconds=600)
    session = run(begin())
    calls = LlmAttempt.objects.count(), LlmCall.objects.count()

    for _ in range(2):
        collected()
        assert not work.claimable(claimable()).exists()
        session = run(session)

    assert (LlmAttempt.objects.count(), LlmCall.objects.count()) == calls
    assert session.status == SessionStatus.RUNNING
    assert waiting(session) == session.batches.filter(stage="facets").count()


def test_the_command_line_collects_without_a_portal(begin: Begin, serve: Serve) -> None:
    server = serve()
    session = run(begin(), skip=AFTER_READING)
    assert session.read_count == 0
    session, away = terminal._load(session.pk)
    said = f"0 of {SIZE} · {SIZE} in batches at the provider · cost $0.00"
    assert terminal._words(session, 0.0, away) == said
    ProviderBatch.objects.update(polled_at=None)

    terminal.collect()

    assert not waiting(session)
    assert terminal._load(session.pk)[1] == 0
    check_paid(run(session, skip=AFTER_READING), server)


def test_only_models_that_offer_batches_read_in_them(begin: Begin) -> None:
    with pytest.raises(Invalid, match="batches"):
        begin()


def test_the_estimate_is_half_of_reading_and_within_a_day(
    begin: Begin, serve: Serve, start: Callable[..., AnalysisSession], model: ModelDeployment
) -> None:
    serve()
    batched = begin()
    plain = start(batched.dataset, chat=ModelDeployment.objects.get())

    cheap, dear = (Estimate.from_json(one.estimate) for one in (batched, plain))
    assert cheap is not None
    assert dear is not None
    assert cheap.time == "within 24 hours" != dear.time
    for half, whole in zip(cheap.stages, dear.stages, strict=True):
        assert half.cost is not None
        assert whole.cost is not None
        assert half.cost.likely * (2 if half.key == "facets" else 1) == whole.cost.likely


def test_the_form_offers_batches_where_the_model_does(
    begin: Begin, serve: Serve, client: Client, analyst: User
) -> None:
    serve()
    dataset = begin().dataset
    client.force_login(analyst)
    address = reverse("analyses:new", args=[dataset.project.slug])
    chosen = {"dataset": dataset.pk, "reader": ModelDeployment.objects.get().pk}
    version = starting.versions_for(dataset.project)[0].pk
    asked = {**chosen, "version": version, "bulk": "on"}

    looked = client.post(address, {**asked, "look": "1"}).content.decode()
    assert "half the price, within 24 hours" in looked
    assert "within 24 hours</dd>" in looked
    local = client.post(address, {**asked, "reader": "", "look": "1"}).content.decode()
    assert "half the price" not in local

    client.post(address, asked)
    assert AnalysisSession.objects.latest("pk").params["bulk"] is True
