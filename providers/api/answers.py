"""JSON door of stored answers."""

from __future__ import annotations

from typing import Any

from ninja import Router

from accounts.models import Role
from accounts.schemas import ApiRequest
from accounts.selectors import api_workspace
from accounts.services import require
from core.errors import NotFound
from providers import selectors, services
from providers.schemas import AnswersOut, ForgetIn, Forgotten
from providers.selectors import cache

router = Router(tags=["Stored answers"])


@router.get("", response=AnswersOut)
def stored_answers(request: ApiRequest) -> Any:
    """How often stored answers served, what that saved, and what is stored. Owners."""
    workspace = api_workspace(request.auth)
    require(request.auth, workspace, Role.OWNER)
    rows = cache.served(workspace)
    return {
        "days": cache.DAYS,
        "total": cache.total(rows),
        "served": rows,
        "stock": cache.stock(workspace),
        "watching": cache.watching(workspace),
    }


@router.post("/forget", response=Forgotten)
def forget(request: ApiRequest, body: ForgetIn) -> Any:
    """Forget stored answers; what they cost stays in the books. Owners."""
    workspace = api_workspace(request.auth)
    require(request.auth, workspace, Role.OWNER)
    given = body.model_dump()
    slug = given.pop("project")
    if slug:
        found = [place for place in selectors.places(workspace) if place.slug == slug]
        if not found:
            raise NotFound
        given["project"] = int(found[0].scope.partition(":")[2])
    count = services.forget_answers(actor=request.auth, workspace=workspace, **given)
    return {"forgotten": count}
