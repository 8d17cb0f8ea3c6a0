"""What the pipeline is given: a stored conversation, and the questions of a template."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import Max
from django.utils.dateparse import parse_datetime

from analyses import plan
from analyses.models import AnalysisSession
from analyses.pipeline.records import FacetSpec, Source, Turn
from projects.models import Conversation, Dataset
from templates_app.models import TemplateVersion


def source_of(row: Conversation) -> Source:
    """A stored conversation as the pipeline sees it. Ids and metadata stay behind."""
    turns = tuple(
        Turn(
            role=str(message.get("role", "")),
            text=str(message.get("content") or ""),
            at=_time(message.get("ts")),
        )
        for message in row.messages
    )
    return Source(position=row.position, turns=turns, user=row.end_user, started_at=row.started_at)


def _time(value: Any) -> datetime | None:
    try:
        return parse_datetime(value) if isinstance(value, str) else None
    except ValueError:
        return None


def facets_of(version: TemplateVersion) -> tuple[FacetSpec, ...]:
    """The questions of a template version. One query."""
    return tuple(
        FacetSpec(
            key=facet.key,
            label=facet.label,
            question=facet.question,
            kind=facet.kind,
            choices=tuple(facet.choices),
            low=facet.low,
            high=facet.high,
        )
        for facet in version.facets.all()
    )


def places_of(session: AnalysisSession, first: int, last: int) -> dict[int, int]:
    """Positions in the data set of a range of an analysis, each with its position there."""
    return plan.places(
        plan.RunParams.model_validate(session.params),
        total=session.total,
        seed=session.seed,
        first=first,
        last=last,
    )


def left_out(dataset: Dataset) -> list[int]:
    """Positions whose conversations are deleted, ascending. One query while there are none."""
    top = dataset.conversations.aggregate(top=Max("position"))["top"]
    if top is None or dataset.conversation_count > top:
        return []
    rows = dataset.conversations.filter(deleted_at__isnull=False).order_by("position")
    return list(rows.values_list("position", flat=True))
