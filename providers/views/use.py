"""Limits of use: calls a minute and tokens a day, by person, API key and project."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from accounts.models import Role
from accounts.selectors import current_workspace, person
from accounts.services import require
from core.errors import Invalid
from core.forms import refuse
from providers import services
from providers.forms import UseForm
from providers.selectors.detail import scopes_to_limit
from providers.views.limits import limits_page


@login_required
@require_POST
def use(request: HttpRequest) -> HttpResponse:
    """Set or end one limit; both fields empty end it. Owners only."""
    user = person(request)
    workspace = current_workspace(user)
    require(user, workspace, Role.OWNER)
    form = UseForm(request.POST, scopes=scopes_to_limit(workspace), auto_id="use-%s")
    if form.is_valid():
        data: dict[str, Any] = form.cleaned_data
        try:
            services.set_use_limit(actor=user, workspace=workspace, **data)
            gone = data["requests_per_minute"] is None and data["tokens_per_day"] is None
            messages.success(
                request,
                "The limit of use is ended." if gone else "Saved. It holds from the next call on.",
            )
            return redirect("providers:limits")
        except Invalid as error:
            refuse(form, error)
    return limits_page(request, workspace, use_form=form)
