"""JSON door of limits of spending and use."""

from __future__ import annotations

from typing import Any

from ninja import Router

from accounts.models import Role
from accounts.schemas import ApiRequest
from accounts.selectors import api_workspace
from accounts.services import require
from core.errors import NotFound
from providers import selectors, services
from providers.schemas import LimitIn, PlaceOut, UseIn, UseOut
from providers.selectors.use import use_limits

router = Router(tags=["Limits"])


@router.get("", response=list[PlaceOut])
def list_limits(request: ApiRequest) -> Any:
    """Limits and spending of the workspace and its projects, today and this month. Owners."""
    workspace = api_workspace(request.auth)
    require(request.auth, workspace, Role.OWNER)
    return selectors.spending(workspace)


@router.put("", response=list[PlaceOut])
def set_limit(request: ApiRequest, body: LimitIn) -> Any:
    """Set or remove one limit; it holds from the next call on. Owners."""
    workspace = api_workspace(request.auth)
    require(request.auth, workspace, Role.OWNER)
    found = [place for place in selectors.places(workspace) if place.slug == (body.project or "")]
    if not found:
        raise NotFound
    services.set_limits(
        actor=request.auth,
        workspace=workspace,
        scope=found[0].scope,
        amounts={body.period: body.amount},
    )
    return selectors.spending(workspace)


@router.get("/use", response=list[UseOut])
def list_use(request: ApiRequest) -> Any:
    """Limits of use by person, API key and project, with today's use. Owners."""
    workspace = api_workspace(request.auth)
    require(request.auth, workspace, Role.OWNER)
    return use_limits(workspace)


@router.put("/use", response=list[UseOut])
def set_use(request: ApiRequest, body: UseIn) -> Any:
    """Set or end one limit of use; it holds from the next call on. Owners."""
    workspace = api_workspace(request.auth)
    services.set_use_limit(actor=request.auth, workspace=workspace, **body.model_dump())
    return use_limits(workspace)
