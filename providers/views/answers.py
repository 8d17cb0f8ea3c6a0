"""Stored answers: what they saved, what is kept, and forgetting it."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from accounts.models import Role
from accounts.selectors import current_workspace, person
from accounts.services import require
from core.errors import Invalid, NotFound
from core.figures import count_of
from providers import services
from providers.forms.routes import RouteForm
from providers.models import Purpose, Semantic
from providers.selectors import cache, route_plan, route_plans
from providers.selectors.routes import wants_vectors


@login_required
@require_safe
def answers(request: HttpRequest) -> HttpResponse:
    """How often stored answers served, what that saved, and what is stored. Owners only."""
    user = person(request)
    workspace = current_workspace(user)
    require(user, workspace, Role.OWNER)
    rows = cache.served(workspace)
    watched = {one.purpose: one for one in cache.watching(workspace)}
    context: dict[str, Any] = {
        "served": rows,
        "total": cache.total(rows),
        "days": cache.DAYS,
        "stock": cache.stock(workspace),
        "plans": [
            {"plan": plan, "watched": watched.get(purpose), "vectors": wants_vectors(purpose)}
            for purpose, plan in route_plans(workspace).items()
        ],
        "modes": Semantic.choices,
    }
    return render(request, "providers/answers.html", context)


@login_required
@require_POST
def forget(request: HttpRequest) -> HttpResponse:
    """Forget a group of stored answers: a model, a prompt version, a purpose. Owners only."""
    user = person(request)
    workspace = current_workspace(user)
    wanted: dict[str, Any] = {
        name: request.POST[name][:200]
        for name in ("model", "prompt_version", "purpose")
        if name in request.POST
    }
    try:
        count = services.forget_answers(actor=user, workspace=workspace, **wanted)
        messages.success(request, f"{count_of(count, 'answer')} forgotten. The books stay.")
    except Invalid as error:
        messages.error(request, error.text)
    return redirect("providers:answers")


@login_required
@require_POST
def keep(request: HttpRequest, purpose: str) -> HttpResponse:
    """How a purpose uses stored answers again: for how long, and for near questions. Owners."""
    user = person(request)
    workspace = current_workspace(user)
    require(user, workspace, Role.OWNER)
    if purpose not in Purpose.values:
        raise NotFound
    form = RouteForm(request.POST, plan=route_plan(workspace, purpose))
    if not form.is_valid():
        messages.error(request, str(next(iter(form.errors.values()))[0]))
        return redirect("providers:answers")
    try:
        services.set_route(
            actor=user,
            workspace=workspace,
            purpose=purpose,
            targets=form.targets(),
            **form.rules(),
        )
        messages.success(request, f"{Purpose(purpose).label}: saved. It holds from the next call.")
    except Invalid as error:
        messages.error(request, error.text)
    return redirect("providers:answers")
