"""One claimed batch with all that its handler needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from analyses.models import AnalysisSession, Batch
from analyses.pipeline.base import Context, Stage
from analyses.plan import RunParams
from analyses.runner.ports import Ports
from analyses.services import saved


@dataclass(slots=True)
class Job:
    """``db`` runs a function in the worker's database thread."""

    batch: Batch
    session: AnalysisSession
    ports: Ports
    context: Context
    params: RunParams
    db: Callable[..., Awaitable[Any]]

    async def records(self, stage: Stage, inputs: Any) -> list[Any]:
        """All records a stage yields."""
        return [record async for record in stage.run(inputs, self.context)]

    async def save(self, write: Callable[[AnalysisSession], None], done: int = 100) -> None:
        """Save results and move on, in one transaction."""
        await self.db(lambda: saved(self.batch, write, done=done))


Handler = Callable[[Job], Awaitable[None]]
