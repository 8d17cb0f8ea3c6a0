"""JSON door of routes: which models answer what, in which order."""

from __future__ import annotations

from typing import Any

from ninja import Router

from accounts.models import Role, Workspace
from accounts.schemas import ApiRequest
from accounts.selectors import api_workspace
from accounts.services import require
from core.errors import Invalid, NotFound
from providers import services
from providers.models import ModelDeployment, Purpose
from providers.runner import routed
from providers.schemas import RouteIn, RouteOut, RouteTried, RouteTry
from providers.selectors import route_plan, route_plans
from providers.selectors.routes import RoutePlan, wants_vectors

router = Router(tags=["Routes"])


@router.get("", response=list[RouteOut])
def list_routes(request: ApiRequest) -> Any:
    """How every purpose is answered. Analysts and owners."""
    workspace = api_workspace(request.auth)
    require(request.auth, workspace, Role.ANALYST)
    return list(route_plans(workspace).values())


@router.get("/{slug:purpose}", response=RouteOut)
def get_route(request: ApiRequest, purpose: str) -> Any:
    """How one purpose is answered. Analysts and owners."""
    workspace = api_workspace(request.auth)
    require(request.auth, workspace, Role.ANALYST)
    return _plan(workspace, purpose)


@router.put("/{slug:purpose}", response=RouteOut)
def set_route(request: ApiRequest, purpose: str, body: RouteIn) -> Any:
    """Change it; takes effect with the next call. Owners."""
    workspace = api_workspace(request.auth)
    require(request.auth, workspace, Role.OWNER)
    plan = _plan(workspace, purpose)
    given = body.given()
    services.set_route(
        actor=request.auth,
        workspace=workspace,
        purpose=purpose,
        strategy=given.get("strategy") or plan.strategy.value,
        semantic=given.get("semantic") or plan.semantic.value,
        cache_days=given.get("cache_days", plan.cache_days),
        targets=_targets(workspace, purpose, plan, given.get("targets")),
    )
    return _plan(workspace, purpose)


@router.post("/{slug:purpose}/try", response=RouteTried)
def try_route(request: ApiRequest, purpose: str, body: RouteTry) -> Any:
    """Put a question to it; counted like any call, and not kept. Analysts and owners."""
    workspace = api_workspace(request.auth)
    require(request.auth, workspace, Role.ANALYST)
    if purpose not in Purpose.values:
        raise NotFound
    found = routed.ask_route(request.auth, workspace, purpose, body.text)
    if found.problem:
        raise routed.unanswered(found)
    return found


def _plan(workspace: Workspace, purpose: str) -> RoutePlan:
    if purpose not in Purpose.values:
        raise NotFound
    return route_plan(workspace, purpose)


def _targets(
    workspace: Workspace, purpose: str, plan: RoutePlan, given: list[dict[str, Any]] | None
) -> list[tuple[ModelDeployment, int]]:
    """The models named, or those the route has."""
    if given is None:
        kept = plan.targets if plan.chosen else ()
        return [(one.deployment, one.weight) for one in kept]
    rows = ModelDeployment.objects.filter(
        provider__workspace=workspace,
        provider__uid__in=[one["provider"] for one in given],
        embeds=wants_vectors(purpose),
    ).select_related("provider")
    known = {(row.provider.uid, row.model): row for row in rows}
    try:
        return [(known[one["provider"], one["model"]], one.get("weight", 1)) for one in given]
    except KeyError:
        raise Invalid(fields={"targets": "There is no such model for this purpose."}) from None
