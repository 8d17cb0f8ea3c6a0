"""The most a workspace and its projects may spend, and the most that people may use."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts.models import Role, Workspace
from accounts.selectors import current_workspace, person
from accounts.services import require
from core.forms import status_of
from providers import selectors, services
from providers.forms import LimitForm, UseForm, limit_form
from providers.selectors.detail import scopes_to_limit
from providers.selectors.use import use_limits


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
    return limits_page(request, workspace, form=form)


def limits_page(
    request: HttpRequest,
    workspace: Workspace,
    *,
    form: LimitForm | None = None,
    use_form: UseForm | None = None,
) -> HttpResponse:
    """The page, with whichever form was refused."""
    form = form or LimitForm()
    use_form = use_form or UseForm(scopes=scopes_to_limit(workspace), auto_id="use-%s")
    rows = selectors.spending(workspace)
    context = {
        "rows": [(row, limit_form(row, form)) for row in rows],
        "form": form,
        "use_form": use_form,
        "use_rows": use_limits(workspace),
    }
    status = max(status_of(form), status_of(use_form))
    return render(request, "providers/limits.html", context, status=status)
