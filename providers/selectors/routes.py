"""Which models answer which purpose, and in what order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Prefetch, QuerySet

from accounts.models import Workspace
from providers.models import (
    ModelDeployment,
    ProviderKind,
    Purpose,
    Route,
    RouteTarget,
    Semantic,
    Strategy,
)


@dataclass(frozen=True, slots=True)
class PlannedTarget:
    """A model of a route with its share under *By weight*. ``usable``: on, and still offered."""

    deployment: ModelDeployment
    weight: int = 1

    @property
    def usable(self) -> bool:
        """Whether calls may go to it at all; its health is another matter."""
        return self.deployment.provider.enabled and not self.deployment.retired


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """How one purpose is answered. ``chosen``: an owner chose the models, else it is every one.

    ``cache_days`` is how long stored answers are used again, ``None`` for as long as they are kept.
    """

    purpose: Purpose
    strategy: Strategy
    targets: tuple[PlannedTarget, ...]
    semantic: Semantic = Semantic.OFF
    cache_days: int | None = None
    chosen: bool = False

    @property
    def usable(self) -> tuple[PlannedTarget, ...]:
        """The targets that calls may go to, in order."""
        return tuple(target for target in self.targets if target.usable)


def offered(workspace: Workspace, *, embeds: bool) -> QuerySet[ModelDeployment]:
    """Models that may be asked, in the order they were added: of providers that are on.

    The local engine is none of them: it needs no route and is always there.
    """
    rows = ModelDeployment.objects.filter(
        provider__workspace=workspace, provider__enabled=True, retired=False, embeds=embeds
    )
    return rows.exclude(provider__kind=ProviderKind.LOCAL).select_related("provider").order_by("id")


def wants_vectors(purpose: str) -> bool:
    """Whether a purpose is answered by embedding models."""
    return purpose == Purpose.EMBEDDINGS


def route_plan(workspace: Workspace, purpose: str) -> RoutePlan:
    """How a purpose is answered now. Three queries at most."""
    return _plan(workspace, Purpose(purpose), _stored(workspace).filter(purpose=purpose).first())


def route_plans(workspace: Workspace) -> dict[str, RoutePlan]:
    """Every purpose with its way of being answered. Four queries at most."""
    stored = {row.purpose: row for row in _stored(workspace)}
    default = {embeds: list(offered(workspace, embeds=embeds)) for embeds in (False, True)}
    return {
        purpose.value: _plan(
            workspace, purpose, stored.get(purpose), default[wants_vectors(purpose)]
        )
        for purpose in Purpose
    }


def effective_route(workspace: Workspace, purpose: str) -> list[ModelDeployment]:
    """The models that a purpose's calls may go to, in order, each with its provider.

    Without a choice of the owner these are all models that are on, in the order they were added.
    A chosen model that was switched off or is no longer offered is left out and nothing takes its
    place: an owner who chose models may have left out others on purpose. Three queries at most.
    """
    return [target.deployment for target in route_plan(workspace, purpose).usable]


def _stored(workspace: Workspace) -> QuerySet[Route]:
    targets = RouteTarget.objects.select_related("deployment__provider").order_by("position")
    return Route.objects.filter(workspace=workspace).prefetch_related(Prefetch("targets", targets))


def _plan(
    workspace: Workspace,
    purpose: Purpose,
    row: Route | None,
    default: Sequence[ModelDeployment] | None = None,
) -> RoutePlan:
    targets = (
        [PlannedTarget(one.deployment, one.weight) for one in row.targets.all()] if row else []
    )
    chosen = bool(targets)
    if not chosen:
        rows = offered(workspace, embeds=wants_vectors(purpose)) if default is None else default
        targets = [PlannedTarget(one) for one in rows]
    if row is None:
        return RoutePlan(purpose, Strategy.PRIORITY, tuple(targets))
    return RoutePlan(
        purpose,
        Strategy(row.strategy),
        tuple(targets),
        Semantic(row.semantic),
        row.cache_days,
        chosen,
    )
