"""What is worth a look in a finished analysis, found by counting and told in words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

from analyses.pipeline.base import Context, StageParams
from analyses.pipeline.insights.changes import changes
from analyses.pipeline.insights.columns import columns
from analyses.pipeline.insights.finds import ranked
from analyses.pipeline.insights.params import InsightParams
from analyses.pipeline.insights.shares import concerns, facets, resolutions
from analyses.pipeline.records import AnalysisTable, InsightFound

__all__ = ["InsightParams", "InsightsStage", "find_insights"]


class InsightsStage:
    """An :class:`AnalysisTable` in, :class:`InsightFound` records out, the best first."""

    key: ClassVar[str] = "insights"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("prepare", "facets", "hierarchy", "privacy")
    Params: ClassVar[type[StageParams]] = InsightParams

    def __init__(self, params: InsightParams | None = None) -> None:
        self.params = params or InsightParams()

    async def run(self, inputs: AnalysisTable, context: Context) -> AsyncIterator[InsightFound]:
        """Yield at most ``params.most`` insights; they speak of shown nodes only."""
        context.check()
        found = await context.compute(find_insights, inputs, self.params)
        context.check()
        for done, insight in enumerate(found, start=1):
            yield insight
            context.report(done, len(found))


def find_insights(table: AnalysisTable, params: InsightParams) -> list[InsightFound]:
    """All finders over one table. Same table, same insights: nothing here is drawn at random."""
    counted = columns(table)
    if counted.total == 0:
        return []
    finds = [
        find
        for finder in (changes, concerns, resolutions, facets)
        for find in finder(counted, params)
    ]
    return ranked(finds, counted, params.most)
