"""Small reads of the worker: what a claimed batch belongs to, and in which order to claim."""

from __future__ import annotations

from typing import Any

from django.db.models import Case, IntegerField, Value, When

from analyses.models import AnalysisSession, Batch
from analyses.plan import PREVIEW, RunParams
from core.models import WorkStatus

HEAVY_ORDER = Case(
    When(stage=PREVIEW, then=Value(0)),
    When(stage="prepare", then=Value(2)),
    default=Value(1),
    output_field=IntegerField(),
)
"""The picture people wait for first, preparing last."""


def session_of(batch: Batch) -> AnalysisSession:
    """The analysis of a batch with all that its stages need. One query."""
    return AnalysisSession.objects.select_related(
        "project", "template_version", "chat__provider", "embedding__provider"
    ).get(pk=batch.session_id)


def share_of(session_id: int, params: dict[str, Any]) -> int:
    """One reading process's part of an analysis's calls at once: all get the same."""
    leased = Batch.objects.filter(session=session_id, stage="facets", status=WorkStatus.LEASED)
    readers = leased.values("owner").distinct().count()
    return max(1, -(-RunParams.model_validate(params).concurrency // max(1, readers)))
