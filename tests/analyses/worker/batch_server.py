"""A scripted server with batch endpoints in a thread of its own, for tests of batch mode."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

from django.utils import timezone

from analyses import plan, services
from analyses.models import AnalysisSession
from core.models import WorkStatus
from providers.clients.scripted import Scenario
from providers.clients.scripted_server import Bill, ScriptedServer
from providers.models import BulkState, LlmCall, ProviderBatch
from providers.runner.collecting import collect_due
from tests.analyses.worker.support import run


class BatchServer:
    """Its bill names the line of every answer that came out of a batch."""

    def __init__(self, folder: Path, **batches: Any) -> None:
        self.scenario = Scenario.model_validate({"batches": batches})
        self.bill = folder / "bill.jsonl"
        self.url = ""
        self._ready, self._ended = Event(), Event()
        self._thread = Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def start(self) -> BatchServer:
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(10)

    async def _serve(self) -> None:
        server = ScriptedServer(self.scenario, Bill(self.bill))
        self.url = await server.start()
        self._ready.set()
        while not self._ended.is_set():
            await asyncio.sleep(0.02)
        await server.stop()

    def billed(self) -> Counter[str]:
        """How often each line was billed."""
        rows = [json.loads(line) for line in self.bill.read_text().splitlines()]
        return Counter(row["key"] for row in rows if row["key"])

    @property
    def asked_alone(self) -> int:
        """Requests that were billed outside of batches."""
        rows = [json.loads(line) for line in self.bill.read_text().splitlines()]
        return sum(not row["key"] for row in rows)


def later(**how: float) -> None:
    """Let so much time pass for all batches at providers."""
    delta = timedelta(**how)
    for batch in ProviderBatch.objects.filter(state__in=(BulkState.PREPARING, BulkState.WORKING)):
        batch.created_at -= delta
        batch.polled_at = None
        batch.save(update_fields=["created_at", "polled_at"])


def collected() -> None:
    """Look at all batches now, and let what waited for them go on."""
    ProviderBatch.objects.update(polled_at=None)
    collect_due()
    services.tick()


AFTER_READING = frozenset(step.key for step in plan.STAGES) - {"prepare", "facets"} | {plan.PREVIEW}


def finished(
    session: AnalysisSession, rounds: int = 6, *, skip: frozenset[str] = frozenset()
) -> AnalysisSession:
    """Hand over, collect and read until the analysis has ended."""
    for _ in range(rounds):
        session = run(session, skip=skip)
        if session.ended or (skip and session.read_count + session.failed_count == session.total):
            break
        collected()
    session.refresh_from_db()
    return session


def read_out(session: AnalysisSession, rounds: int = 6) -> AnalysisSession:
    """Hand over, collect and read until everything is read; what comes after reading is left."""
    return finished(session, rounds, skip=AFTER_READING)


def waiting(session: AnalysisSession) -> int:
    """Batches of conversations that wait for a provider's batch."""
    rows = session.batches.filter(stage="facets", status=WorkStatus.PENDING)
    return rows.filter(not_before__gt=timezone.now() + timedelta(hours=20)).count()


def facet_calls(session: AnalysisSession) -> Any:
    return LlmCall.objects.filter(analysis_id=session.pk, batched=True)
