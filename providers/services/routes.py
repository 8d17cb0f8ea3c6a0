"""Changes to routes, and a route as the gateway takes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from django.db import transaction

from accounts.models import Role, User, Workspace
from accounts.services import audit, require
from core.errors import Invalid
from core.events import publish
from providers.events import RouteChanged, topic_of
from providers.gateway import types as gateway
from providers.models import (
    ModelDeployment,
    ProviderKind,
    Purpose,
    Route,
    RouteTarget,
    Semantic,
    Strategy,
)
from providers.selectors.routes import route_plan, wants_vectors
from providers.services.deployments import deployment_config

MOST_TARGETS = 20
"""Models of one route: more than anybody orders by hand, few enough to look at in one call."""

MOST_WEIGHT = 1000
MOST_DAYS = 3650
DAY_SECONDS = 86_400.0


def set_route(
    *,
    actor: User,
    workspace: Workspace,
    purpose: str,
    strategy: str,
    targets: Sequence[tuple[ModelDeployment, int]],
    semantic: str = Semantic.OFF,
    cache_days: int | None = None,
) -> Route:
    """Say which models answer a purpose, in what order and by what strategy. Owners only.

    ``targets`` are models with their weights, the first one first; none at all means every model
    that is on, in the order they were added. ``cache_days`` is how long stored answers are used
    again, ``None`` for as long as they are kept. Calls under way are not touched. Raises
    :class:`Invalid` for models of another workspace or sort, and for values out of range.
    """
    require(actor, workspace, Role.OWNER)
    checks = (
        _wrong_words(purpose, strategy, semantic),
        _wrong_targets(workspace, purpose, targets),
        _wrong_days(cache_days),
    )
    wrong = {name: text for found in checks for name, text in found.items()}
    if wrong:
        raise Invalid(fields=wrong)
    given = {"strategy": strategy, "semantic": semantic, "cache_days": cache_days}
    with transaction.atomic():
        row, _ = Route.objects.update_or_create(
            workspace=workspace, purpose=purpose, defaults=given
        )
        row.targets.all().delete()
        RouteTarget.objects.bulk_create(
            RouteTarget(route=row, deployment=model, position=place, weight=weight)
            for place, (model, weight) in enumerate(targets)
        )
        audit(
            workspace=workspace,
            actor=actor,
            action="route.changed",
            obj=row,
            purpose=purpose,
            models=[str(model) for model, _ in targets],
            **given,
        )
        publish(topic_of(workspace.pk), RouteChanged(purpose=purpose))
    return row


def route_config(
    workspace: Workspace, purpose: str, *, interactive: bool | None = None
) -> gateway.Route:
    """The route of a purpose as the gateway takes it; no targets when no model may be asked.

    A model whose key can no longer be read is left out while another one can be asked; raises
    :class:`Invalid` when it was the last. ``interactive`` ``None``: a person waits for answers to
    their own questions only.
    """
    plan = route_plan(workspace, purpose)
    configs: list[gateway.Deployment] = []
    weights: list[int] = []
    refused: Invalid | None = None
    for target in plan.usable:
        try:
            configs.append(deployment_config(target.deployment))
            weights.append(target.weight)
        except Invalid as error:
            refused = error
    if refused and not configs:
        raise refused
    return gateway.Route(
        targets=tuple(configs),
        strategy=cast(gateway.Strategy, plan.strategy.value),
        weights=tuple(weights),
        semantic=cast(gateway.Semantic, plan.semantic.value),
        max_age=None if plan.cache_days is None else plan.cache_days * DAY_SECONDS,
        interactive=purpose == Purpose.ASK if interactive is None else interactive,
    )


def _wrong_words(purpose: str, strategy: str, semantic: str) -> dict[str, str]:
    wrong = {}
    if purpose not in Purpose.values:
        wrong["purpose"] = "There is no such purpose."
    if strategy not in Strategy.values:
        wrong["strategy"] = "There is no such strategy."
    if semantic not in Semantic.values:
        wrong["semantic"] = "This is off, shadow or on."
    elif semantic != Semantic.OFF and wants_vectors(purpose):
        wrong["semantic"] = "Vectors are used again for exactly the same text only."
    return wrong


def _wrong_targets(
    workspace: Workspace, purpose: str, targets: Sequence[tuple[ModelDeployment, int]]
) -> dict[str, str]:
    models = [model for model, _ in targets]
    if len(models) > MOST_TARGETS:
        return {"targets": f"A route has at most {MOST_TARGETS} models."}
    if len({model.pk for model in models}) < len(models):
        return {"targets": "Each model can be listed once."}
    if any(not 1 <= weight <= MOST_WEIGHT for _, weight in targets):
        return {"targets": f"A weight is a whole number from 1 to {MOST_WEIGHT}."}
    if any(not _fits(model, workspace, purpose) for model in models):
        return {"targets": "There is no such model for this purpose."}
    return {}


def _fits(model: ModelDeployment, workspace: Workspace, purpose: str) -> bool:
    """Whether a model may be listed; one that is off or retired keeps its place."""
    return (
        model.provider.workspace_id == workspace.pk
        and model.embeds == wants_vectors(purpose)
        and model.provider.kind != ProviderKind.LOCAL
    )


def _wrong_days(cache_days: int | None) -> dict[str, str]:
    if cache_days is None or 1 <= cache_days <= MOST_DAYS:
        return {}
    return {"cache_days": f"Enter 1 to {MOST_DAYS:,} days, or nothing."}
