"""Shapes of the API of analyses. In code and API an analysis is a session."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from ninja import Field, Schema

from analyses.selectors.comparisons import MOST_PROBES, PROBES
from analyses.selectors.controls import controls_of
from analyses.selectors.limits import limits_of
from analyses.selectors.readers import readers_of

NAMES = {"stop": "cancel"}
"""Wishes whose name on the page is another."""


class SessionIn(Schema):
    """A new analysis. Without ``provider`` the local engine reads."""

    dataset: int = Field(description="The data set's number in the project.")
    template: str = Field(default="customer-support", max_length=60, description="Its key.")
    provider: UUID | None = None
    by_route: bool = Field(
        default=False,
        description="Every step is answered in the workspace's order, instead of by a provider.",
    )
    local_last: bool = Field(
        default=False,
        description="With `by_route`: the local engine names and arranges groups when no model "
        "answers.",
    )
    bulk: bool = Field(
        default=False,
        description="Read the conversations in the provider's batches: half the price, within "
        "24 hours. Only where its model offers them.",
    )
    name: str = Field(default="", max_length=160)
    limit: int | None = Field(default=None, ge=1)
    sample: Literal["first", "spread"] = Field(
        default="first", description="Which conversations `limit` takes."
    )
    concurrency: int | None = Field(default=None, ge=1, le=1000)
    fallback: UUID | None = Field(
        default=None, description="The provider to ask when the first does not answer."
    )
    spend_limit: Decimal | None = Field(
        default=None, ge=Decimal("0.01"), max_digits=10, description="In US dollars."
    )


class EstimateIn(Schema):
    """What would be analysed. Without ``provider`` the local engine reads."""

    dataset: int
    template: str = Field(default="customer-support", max_length=60)
    provider: UUID | None = None
    by_route: bool = False
    bulk: bool = False
    limit: int | None = Field(default=None, ge=1)
    sample: Literal["first", "spread"] = "first"


class StageEstimateOut(Schema):
    """One stage's calls and tokens as low end, likely value and high end."""

    key: str
    calls: list[float]
    tokens_in: list[float]
    tokens_out: list[float]
    cost: list[Decimal] | None = Field(description="US dollars; null when unpriced.")


class EstimateOut(Schema):
    """What an analysis would cost and take, each as low end, likely value and high end."""

    conversations: int
    sampled: int = Field(description="Conversations whose prompts were counted.")
    seconds: list[float]
    cost: list[Decimal] | None = Field(description="US dollars; null when unpriced.")
    stages: list[StageEstimateOut]
    notes: list[str]


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


class LimitOut(Schema):
    """A spending limit, in US dollars. ``used`` counts calls in doubt."""

    kind: str
    period: str = Field(alias="state.period")
    amount: Decimal = Field(alias="state.amount")
    used: Decimal = Field(alias="state.used")


class SessionDetail(SessionOut):
    """An analysis with its stages, warnings, limits and what happened to it."""

    stages: list[StageOut]
    can: list[str]
    retry_at: datetime | None
    in_doubt: Decimal
    doubt_count: int
    limits: list[LimitOut]
    estimate: dict[str, Any]
    outlook: dict[str, Any]
    recovery: dict[str, Any]
    recoveries: int
    chat: UUID | None
    fallback: UUID | None
    warnings: list[str]
    notice: str
    readers: list[ReaderOut]
    changes: list[ChangeOut]

    @staticmethod
    def resolve_readers(row: Any) -> Any:
        """The models whose answers there are, most first."""
        return readers_of(row)

    @staticmethod
    def resolve_changes(row: Any) -> Any:
        """Oldest first."""
        return list(row.changes.all())

    @staticmethod
    def resolve_stages(row: Any) -> Any:
        """In the order in which they run."""
        return list(row.stages.all())

    @staticmethod
    def resolve_limits(row: Any) -> Any:
        """Narrowest first."""
        return limits_of(row)

    @staticmethod
    def resolve_can(row: Any) -> list[str]:
        """What can be asked for in this state."""
        return [NAMES.get(control.act, control.act) for control in controls_of(row)]

    @staticmethod
    def resolve_chat(row: Any) -> UUID | None:
        """The provider that reads; ``null`` for the local engine."""
        return row.chat.provider.uid if row.chat else None

    @staticmethod
    def resolve_fallback(row: Any) -> UUID | None:
        """The provider asked when that one does not answer."""
        return row.fallback.provider.uid if row.fallback else None


class SessionPage(Schema):
    """Analyses, newest first; ``next`` continues."""

    items: list[SessionOut]
    next: str | None = None


class Wish(Schema):
    """What should happen to the analysis."""

    action: Literal["pause", "resume", "cancel", "retry"]
    positions: list[Annotated[int, Field(ge=0, le=10**9)]] | None = Field(
        default=None,
        max_length=1000,
        description="With `retry`: only these conversations, by their `position`.",
    )


class LimitIn(Schema):
    """The most that may be spent, in US dollars; without an amount the limit is taken away."""

    kind: Literal["analysis", "project", "workspace"] = "analysis"
    period: Literal["all", "day", "month"] = "all"
    amount: Decimal | None = Field(ge=0, max_digits=9, decimal_places=2)


class ProvidersIn(Schema):
    """Who reads from now on, and who is asked when that one does not answer."""

    chat: UUID | Literal["local"] = Field(
        description="A provider's id, or `local` to finish with the local engine."
    )
    fallback: UUID | None = None


class CompareIn(Schema):
    """Which provider's model to compare with, on how many conversations."""

    chat: UUID
    count: int = Field(default=PROBES, ge=1, le=MOST_PROBES)


class AgreementOut(Schema):
    """One question: how many conversations were compared and how far the answers agree.

    `share` with its 95 % interval for choices and scores, `mean` and `worst` likeness for texts.
    """

    key: str
    label: str
    rule: str
    compared: int
    agreed: int | None = None
    share: float | None = None
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    worst: float | None = None


class ComparisonOut(Schema):
    """A comparison of models. `job` is the job that makes it."""

    job: UUID = Field(alias="job.uid")
    status: str = Field(alias="job.status")
    before: str
    after: str
    answered: int
    cost: Decimal | None = Field(description="US dollars; null when unpriced.")
    facets: list[AgreementOut]


class ReaderOut(Schema):
    """A model and the conversations it read."""

    model: str
    count: int
    share: float


class ChangeOut(Schema):
    """Another model took over after `position` conversations; `agreement` as measured before."""

    before: str
    after: str
    position: int
    changed_at: datetime
    agreement: dict[str, Any]


class ClusterOut(Schema):
    """A group that may be shown. ``provisional`` ones can still change."""

    id: int
    parent: int | None
    level: int
    name: str
    description: str
    size: int
    model: str
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
    model: str
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
