"""The most a workspace and its projects may spend."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts.models import Role
from accounts.selectors import current_workspace, person
from accounts.services import require
from core.forms import status_of
from providers import selectors, services
from providers.forms import LimitForm, limit_form


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
