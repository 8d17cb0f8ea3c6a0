"""Batch mode end to end over a loopback socket, in the shapes of three providers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from analyses.models import AnalysisSession, SessionStatus
from projects.models import Dataset
from providers.gateway.bulk import BulkLimits
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
from tests.analyses.worker.batch_server import (
    BatchServer,
    facet_calls,
    finished,
    waiting,
)
from tests.analyses.worker.support import check_books, run

pytestmark = pytest.mark.django_db(transaction=True)

SIZE = 30

SHAPES = {"openai": "openai", "anthropic": "anthropic", "mistral": "openai"}
"""Preset and kind of provider."""

Begin = Callable[..., AnalysisSession]
Serve = Callable[..., BatchServer]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches are handed over after a moment of quiet."""
    monkeypatch.setattr("providers.gateway.bulk.TICK", 0.05)
    monkeypatch.setattr("providers.gateway.bulk.BulkLimits", partial(BulkLimits, quiet=0.4))


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
    check_books(session)
    assert session.status == SessionStatus.COMPLETED, (session.status, session.detail)
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

    session = finished(session)

    check_paid(session, server)
    assert session.read_count == SIZE
    batch.refresh_from_db()
    assert (batch.state, batch.collected, batch.missing) == (BulkState.ENDED, SIZE, 0)
    assert not ProviderBatchLine.objects.exists()
