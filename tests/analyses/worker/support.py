"""Running workers in tests, and looking at what they leave."""

from __future__ import annotations

import asyncio
import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections

from analyses import artifacts, export
from analyses.models import (
    AnalysisSession,
    ArtifactKind,
    FacetValue,
    Outcome,
)
from analyses.runner.worker import Worker
from analyses.services.sessions import claimable
from core import work
from core.models import WorkStatus
from providers.clients.scripted import Scenario, ScriptedClient
from providers.gateway.journal import JournalRow
from providers.runner import DatabaseJournal

LIMIT = 240.0
"""Seconds; the first map of a machine compiles for a while."""
ROUNDS = 5
WISHES = (
    "reset the password of my account",
    "get a refund for a charge on my card",
    "export the report to a spreadsheet",
    "connect the webhook of the shop",
    "change the delivery address of an order",
)


class Told:
    """A scripted client shared by all workers of a test, and what the journal was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client = ScriptedClient()
        self.settled: Counter[str] = Counter()
        monkeypatch.setattr("providers.clients.opening.ScriptedClient", lambda **how: self.client)
        write = DatabaseJournal.write

        def noted(journal: DatabaseJournal, rows: Sequence[JournalRow]) -> Any:
            verdicts = write(journal, rows)
            self.settled.update(row.fingerprint for row in rows if row.state == "ok")
            return verdicts

        monkeypatch.setattr(DatabaseJournal, "write", noted)

    def play(self, scenario: Scenario) -> None:
        self.client = ScriptedClient(scenario)

    @contextmanager
    def silent_from(self, number: int) -> Iterator[None]:
        """From this request on nothing is answered, so that calls are out at a kill."""
        answer = self.client.chat

        async def silent(*args: Any) -> Any:
            found = await answer(*args)
            if self.requests >= number:
                await asyncio.Event().wait()
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.client, "chat", silent)
            yield

    @property
    def requests(self) -> int:
        return self.client.script.requests

    def seen(self) -> Counter[str]:
        return self.client.script.seen


def run(session: AnalysisSession, **how: Any) -> AnalysisSession:
    """Work until nothing is left to do, however slow the machine: a worker that hardly got to
    look for work in its idle time is followed by another."""
    for _ in range(ROUNDS):
        worker_run(Worker(session_id=session.pk, idle_exit=0.3, **how).run())
        if not _is_left(session, **how):
            break
    session.refresh_from_db()
    return session


def _is_left(
    session: AnalysisSession,
    *,
    skip: frozenset[str] = frozenset(),
    reads: bool = True,
    **how: Any,
) -> bool:
    """Whether a worker of this kind would find a batch now."""
    waiting = work.claimable(claimable().filter(session=session)).exclude(stage__in=skip)
    return bool(waiting.exclude(stage="" if reads else "facets").exists())


def worker_run(task: Any) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(LIMIT):
            return await task

    try:
        return asyncio.run(bounded())
    finally:
        connections.close_all()


def table(session: AnalysisSession) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(export.conversations_csv(session)))))


def picture(session: AnalysisSession) -> tuple[Any, ...]:
    """Everything a person sees of the result."""
    clusters = [
        {key: value for key, value in row.items() if key != "id"}
        for row in export.clusters_json(session)
    ]
    insights = list(session.insights.values_list("kind", "title", "count"))
    return table(session), clusters, insights


def check_books(session: AnalysisSession) -> None:
    """Every conversation has exactly one outcome and all counters agree with the rows."""
    items = session.items.order_by("position")
    assert list(items.values_list("position", flat=True)) == list(range(session.total))
    outcomes = Counter(items.values_list("outcome", flat=True))
    assert outcomes[Outcome.WAITING] == 0
    assert outcomes[Outcome.READ] == session.read_count
    assert outcomes[Outcome.FAILED] == session.failed_count
    for key in ("prepare", "facets"):
        stage = session.stages.get(key=key)
        assert (stage.items_done, stage.batches_done) == (session.total, stage.batches_total)
    assert not session.stages.filter(finished_at=None).exists()
    assert not session.batches.filter(status=WorkStatus.LEASED).exists()
    with_values = FacetValue.objects.filter(item__session=session).values("item").distinct().count()
    assert with_values == session.read_count
    labels = artifacts.load(session, ArtifactKind.LABELS)
    assert labels is not None
    assert len(labels) == session.read_count
    places = artifacts.load(session, ArtifactKind.MAP)
    assert places is not None
    assert places.shape == (session.read_count, 2)
