"""The workspace's routes, frozen onto an analysis."""

from __future__ import annotations

from dataclasses import dataclass

from accounts.models import Workspace
from analyses.plan import FrozenRoute
from core.errors import Invalid
from providers.models import ModelDeployment, Purpose
from providers.selectors.routes import RoutePlan, route_plans

PURPOSES = (
    Purpose.FACETS,
    Purpose.NAMES,
    Purpose.HIERARCHY,
    Purpose.PRIVACY,
    Purpose.EMBEDDINGS,
)
"""What an analysis asks models for; questions of people are none of its own."""

REPLACEABLE = frozenset({Purpose.NAMES, Purpose.HIERARCHY, Purpose.PRIVACY})
"""What the local engine may do in a model's place: reading is never mixed unasked."""

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Order:
    """The routes of an analysis by purpose, and the models asked first."""

    routes: dict[str, FrozenRoute]
    chat: ModelDeployment
    embedding: ModelDeployment | None


def order_of(workspace: Workspace, *, local_last: bool = False) -> Order:
    """The workspace's routes as they are now. Four queries.

    ``local_last``: the local engine names, arranges and checks groups when no model of the route
    answers. A purpose of which every model is off is asked of the models that read. Raises
    :class:`Invalid` when no model may read.
    """
    plans = route_plans(workspace)
    readers, vectors = plans[Purpose.FACETS].usable, plans[Purpose.EMBEDDINGS].usable
    if not readers:
        raise Invalid(fields={"reader": "No model of the workspace's order is switched on."})
    routes = {
        purpose.value: _frozen(plans[purpose], local_last and purpose in REPLACEABLE)
        for purpose in PURPOSES
        if plans[purpose].usable
    }
    return Order(routes, readers[0].deployment, vectors[0].deployment if vectors else None)


def _frozen(plan: RoutePlan, local_last: bool) -> FrozenRoute:
    return FrozenRoute(
        strategy=plan.strategy.value,
        targets=[(target.deployment.pk, target.weight) for target in plan.usable],
        semantic=plan.semantic.value,
        max_age=None if plan.cache_days is None else plan.cache_days * DAY,
        local_last=local_last,
    )
