"""Running one batch of a stage that works on everything at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from analyses import artifacts
from analyses.models import AnalysisSession, ArtifactKind, Batch
from analyses.pipeline.base import Stopped
from analyses.plan import PREVIEW, RunParams
from analyses.runner import ports as port_factory
from analyses.runner.embedding import Sparing
from analyses.runner.endings import Run
from analyses.runner.job import Job
from analyses.runner.outage import Sheltered
from analyses.runner.ports import Ports
from analyses.runner.stages import HANDLERS
from analyses.services.advance import advance, given_back, locked
from analyses.services.progress import tell
from analyses.services.stages import after, take_back
from core import work

NUMERIC = frozenset({"cluster", "map", "insights", "report", PREVIEW})
"""Stages of numbers alone: they cost nothing and end soon, so a pause waits for their result."""

K = ArtifactKind
FILES: dict[str, tuple[str, ...]] = {
    "cluster": (K.VECTORS,),
    "name": (K.VECTORS, K.LABELS, K.CENTROIDS),
    "hierarchy": (K.VECTORS, K.LABELS, K.CENTROIDS, K.NAMES),
    "privacy": (K.LABELS, K.TREE),
    "map": (K.VECTORS, K.LABELS, K.TREE),
    "insights": (K.LABELS, K.TREE),
    "report": (K.VECTORS, K.LABELS, K.TREE),
}
"""The files a stage reads."""

MAKERS: dict[str, str] = {
    K.VECTORS: "embed",
    K.LABELS: "cluster",
    K.CENTROIDS: "cluster",
    K.NAMES: "name",
    K.TREE: "hierarchy",
}
"""The stage that makes a file."""

ELSEWHERE = timedelta(seconds=60)
"""So long a stage is left to the machine that has its files, before they are made again here."""

BESIDE = timedelta(seconds=5)
"""How long a worker without the files leaves a stage alone."""


class Progress:
    """How far a stage is, written down now and then by :meth:`write`."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._share = self._written = 0.0

    def note(self, done: int, total: int) -> None:
        """``Context.report``: may come from any thread, as often as it likes."""
        self._share = done / total if total else 0.0

    def write(self) -> None:
        """Tell the pages, if there is news and the claim is still ours."""
        share = self._share
        if share > self._written and self._batch.stage != PREVIEW:
            self._written = share
            tell(self._batch, share)


@dataclass(slots=True)
class Held:
    """The one batch of a whole stage that a worker has in its hands."""

    batch: Batch
    told: Progress
    task: asyncio.Task[None] | None = None


async def perform(
    session: AnalysisSession,
    held: Held,
    ports: Ports,
    *,
    db: Run,
    numbers: ThreadPoolExecutor,
    should_stop: Callable[[], bool],
) -> None:
    """Run the stage's handler. A stop leaves calls that are out to end, so that none is lost."""
    chat = Sheltered(ports.chat, ports.chat)
    embed: Any = Sheltered(ports.embed if ports.local_vectors else Sparing(ports.embed))
    context = port_factory.context(
        session,
        replace(ports, chat=chat, embed=embed),
        threads=numbers,
        should_stop=should_stop,
        report=held.told.note,
    )
    params = RunParams.model_validate(session.params)
    try:
        await HANDLERS[held.batch.stage](Job(held.batch, session, ports, context, params, db))
    except Stopped:
        await chat.settle()
        await embed.settle()
        raise


def files_at_hand(session: AnalysisSession, batch: Batch) -> bool:
    """Whether the files that a stage reads are on this machine.

    If not, the batch is given back: to the machine that has them if it comes soon, else the
    stages that made them are done again. Raises :class:`core.work.LeaseLost`.
    """
    makers = {
        MAKERS[kind] for kind in FILES.get(batch.stage, ()) if artifacts.is_missing(session, kind)
    }
    if not makers:
        return True
    if Batch.objects.filter(pk=batch.pk, created_at__gt=Now() - ELSEWHERE).exists():
        given_back(batch, wait=BESIDE)
        return False
    with transaction.atomic():
        locked_session = locked(session.pk)
        work.release(batch)
        take_back(locked_session, {*makers, *after(makers)})
        advance(locked_session, reap=False)
    return False
