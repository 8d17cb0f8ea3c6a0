"""What the JSON door of routes takes and gives."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from ninja import Field, Schema

from providers.selectors.routes import PlannedTarget, RoutePlan


class TargetOut(Schema):
    """A model of a route; ``usable`` is false when it is off or no longer offered."""

    provider: UUID = Field(alias="deployment.provider.uid")
    model: str = Field(alias="deployment.model")
    weight: int
    usable: bool


class RouteOut(Schema):
    """How a purpose is answered. Not ``chosen``: every model that is on, in the order added."""

    purpose: str
    strategy: str
    semantic: str
    cache_days: int | None
    chosen: bool
    targets: list[TargetOut]

    @staticmethod
    def resolve_targets(plan: RoutePlan) -> list[PlannedTarget]:
        """The models in order."""
        return list(plan.targets)


class TargetIn(Schema):
    """A model by its provider's id and its name."""

    provider: UUID
    model: str = Field(max_length=120)
    weight: int = Field(default=1, ge=1, le=1000)


class RouteIn(Schema):
    """What to change of a route; what is left out stays. ``targets`` empty: every model."""

    strategy: (
        Literal["priority", "weighted", "round_robin", "least_busy", "lowest_latency", "cheapest"]
        | None
    ) = None
    semantic: Literal["off", "shadow", "on"] | None = None
    cache_days: int | None = Field(default=None, ge=1, le=3650)
    targets: list[TargetIn] | None = None

    def given(self) -> dict[str, Any]:
        """What was said, by name."""
        return self.model_dump(exclude_unset=True)


class RouteTry(Schema):
    """A question for a route: 1 to 2,000 characters."""

    text: str = Field(max_length=2_000)


class FailedOut(Schema):
    """A model that was asked and gave no answer."""

    provider: str
    model: str
    text: str


class RouteTried(Schema):
    """What a route answered. Costs in US dollars, null when a price is unknown.

    ``cost`` is all that was paid. ``hedged``: a second model was asked ``hedged_after`` seconds
    after the first; ``extra``, part of the cost, is the most that the slower may have cost.
    """

    answer: str
    provider: str
    model: str
    seconds: float
    tokens_in: int
    tokens_out: int
    cost: float | None
    hedged: bool
    hedged_after: float | None
    extra: float | None
    failed: list[FailedOut]
