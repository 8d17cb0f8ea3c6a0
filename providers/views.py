"""Providers: their state and use, their settings, and trying them out."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.models import Role
from accounts.selectors import current_workspace, person
from accounts.services import reaches, require, role_of
from core.errors import Invalid
from core.forms import refuse, status_of
from providers import selectors, services
from providers.forms import LimitForm, ProviderForm, limit_form


@login_required
@require_safe
def provider_list(request: HttpRequest) -> HttpResponse:
    """Who reads the conversations, how it does, and what it costs."""
    user = person(request)
    workspace = current_workspace(user)
    role = require(user, workspace, Role.ANALYST)
    rows = selectors.provider_rows(workspace)
    context = {
        "rows": rows,
        "figures": selectors.figures(workspace),
        "down": next((row for row in rows if row.state == "down"), None),
        "may_manage": reaches(role, Role.OWNER),
    }
    return render(request, "providers/list.html", context)


@login_required
@sensitive_post_parameters("key")
def new(request: HttpRequest) -> HttpResponse:
    """Add a provider, then try it out."""
    user = person(request)
    workspace = current_workspace(user)
    require(user, workspace, Role.OWNER)
    form = ProviderForm(request.POST or None)
    if form.is_valid():
        try:
            row = services.save_provider(actor=user, workspace=workspace, given=form.given())
            return _try_out(request, row.pk)
        except Invalid as error:
            refuse(form, error)
    return render(request, "providers/form.html", {"form": form}, status=status_of(form))


@login_required
@sensitive_post_parameters("key")
def edit(request: HttpRequest, pk: int) -> HttpResponse:
    """A provider's state for analysts, its settings for owners."""
    user = person(request)
    row = selectors.provider(user, pk)
    require(user, row.workspace, Role.ANALYST if request.method == "GET" else Role.OWNER)
    form = ProviderForm(request.POST or None, provider=row)
    if form.is_valid():
        try:
            services.save_provider(
                actor=user, workspace=row.workspace, given=form.given(), provider=row
            )
            return _try_out(request, row.pk)
        except Invalid as error:
            refuse(form, error)
    return render(request, "providers/form.html", _one(request, pk, form), status=status_of(form))


@login_required
@require_POST
def test(request: HttpRequest, pk: int) -> HttpResponse:
    """Make a trial call now and say exactly what happened."""
    selectors.provider(person(request), pk)
    return _try_out(request, pk)


@login_required
@require_POST
def switch(request: HttpRequest, pk: int) -> HttpResponse:
    """Switch a provider on or off."""
    row = selectors.provider(person(request), pk)
    enabled = request.POST.get("enabled") == "1"
    services.set_enabled(actor=person(request), provider=row, enabled=enabled)
    messages.success(request, f"{row.name} is {'on' if enabled else 'off'} for new analyses.")
    return redirect("providers:list")


def _try_out(request: HttpRequest, pk: int) -> HttpResponse:
    """The provider's page with the result of a trial call."""
    row = selectors.provider(person(request), pk)
    try:
        services.test_provider(actor=person(request), provider=row)
    except Invalid as error:
        messages.error(request, error.text)
    return redirect("providers:edit", pk)


def _one(request: HttpRequest, pk: int, form: ProviderForm) -> dict[str, object]:
    user = person(request)
    row = selectors.provider(user, pk)
    state, word = selectors.state_of(row)
    may_manage = reaches(role_of(user, row.workspace), Role.OWNER)
    return {"form": form, "row": row, "state": state, "word": word, "may_manage": may_manage}


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def limits(request: HttpRequest) -> HttpResponse:
    """What the workspace and its projects spent, and the most they may. Owners only."""
    user = person(request)
    workspace = current_workspace(user)
    require(user, workspace, Role.OWNER)
    form = LimitForm(request.POST or None)
    if form.is_valid():
        scope = form.cleaned_data["scope"]
        services.set_limits(actor=user, workspace=workspace, scope=scope, amounts=form.amounts())
        messages.success(request, "The limits are saved. They hold from the next call on.")
        return redirect("providers:limits")
    rows = selectors.spending(workspace)
    context = {"rows": [(row, limit_form(row, form)) for row in rows], "form": form}
    return render(request, "providers/limits.html", context, status=status_of(form))
