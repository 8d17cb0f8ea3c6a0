"""Shapes of the API of analyses. In code and API an analysis is a session."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from ninja import Field, Schema


class SessionIn(Schema):
    """A new analysis. Without ``provider`` the local engine reads."""

    dataset: int = Field(description="The data set's number in the project.")
    template: str = Field(default="customer-support", max_length=60, description="Its key.")
    provider: UUID | None = None
    name: str = Field(default="", max_length=160)
    limit: int | None = Field(default=None, ge=1)
    concurrency: int | None = Field(default=None, ge=1, le=1000)


class StageOut(Schema):
    """How far a stage is."""

    key: str
    done: int = Field(alias="items_done")
    total: int = Field(alias="items_total")
    started_at: datetime | None
    finished_at: datetime | None


class SessionOut(Schema):
    """An analysis."""

    id: UUID = Field(alias="uid")
    number: int
    name: str
    status: str
    desired: str
    reason: str
    detail: str
    total: int
    read: int = Field(alias="read_count")
    failed: int = Field(alias="failed_count")
    tokens_in: int
    tokens_out: int
    cost: Decimal
    unpriced_calls: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class SessionDetail(SessionOut):
    """An analysis with its stages and warnings."""

    stages: list[StageOut]
    warnings: list[str]
    notice: str

    @staticmethod
    def resolve_stages(row: Any) -> Any:
        """In the order in which they run."""
        return list(row.stages.all())


class SessionPage(Schema):
    """Analyses, newest first; ``next`` continues."""

    items: list[SessionOut]
    next: str | None = None


class Wish(Schema):
    """What should happen to the analysis."""

    action: Literal["pause", "resume", "cancel"]


class ClusterOut(Schema):
    """A group that may be shown. ``provisional`` ones can still change."""

    id: int
    parent: int | None
    level: int
    name: str
    description: str
    size: int
    provisional: bool = False


class InsightOut(Schema):
    """Something worth a look."""

    rank: int
    kind: str
    title: str
    text: str
    cluster: int | None
    count: int
    share: float | None
    low: float | None
    high: float | None

    @staticmethod
    def resolve_cluster(row: Any) -> int | None:
        """The cluster's id within the analysis."""
        return row.cluster.key if row.cluster else None


class Results(Schema):
    """What an analysis found so far."""

    status: str
    clusters: list[ClusterOut]
    withheld: int
    insights: list[InsightOut]
    report: dict[str, Any]


class ItemOut(Schema):
    """One conversation with its answers."""

    position: int
    id: str
    outcome: str
    title: str
    language: str
    error: str
    facets: dict[str, Any]

    @staticmethod
    def resolve_id(row: Any) -> str:
        """The id the source gave it."""
        return str(row.conversation.external_id)

    @staticmethod
    def resolve_facets(row: Any) -> dict[str, Any]:
        """Answers by the facet's key."""
        return {value.facet.key: value.value for value in row.values.all()}


class ItemPage(Schema):
    """Conversations in the order of the data set; ``next`` continues."""

    items: list[ItemOut]
    next: str | None = None


class EventOut(Schema):
    """What changed, numbered without gaps."""

    seq: int
    kind: str
    at: datetime
    payload: dict[str, Any]


class EventPage(Schema):
    """Events after ``after``, oldest first; ask again with ``last``."""

    items: list[EventOut]
    last: int
