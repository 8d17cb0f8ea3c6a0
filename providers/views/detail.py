"""One provider: its settings, and trying it out."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from accounts.models import Role
from accounts.selectors import current_workspace, person
from accounts.services import reaches, require, role_of
from core.errors import Invalid
from core.forms import refuse, status_of
from providers import selectors, services
from providers.forms import ProviderForm


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
