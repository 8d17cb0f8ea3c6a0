"""The list of providers: their state, use and cost."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from accounts.models import Role
from accounts.selectors import current_workspace, person
from accounts.services import reaches, require
from providers import selectors, services


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
@require_POST
def switch(request: HttpRequest, pk: int) -> HttpResponse:
    """Switch a provider on or off."""
    row = selectors.provider(person(request), pk)
    enabled = request.POST.get("enabled") == "1"
    services.set_enabled(actor=person(request), provider=row, enabled=enabled)
    messages.success(request, f"{row.name} is {'on' if enabled else 'off'} for new analyses.")
    return redirect("providers:list")
