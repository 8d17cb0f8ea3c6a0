"""One provider: how it does, what it costs, its settings and keys, and trying it out."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.models import Role
from accounts.selectors import person
from accounts.services import reaches, require, role_of
from core.errors import AppError, Invalid, NotFound
from core.forms import refuse, status_of
from providers import selectors, services
from providers.forms import KeyForm, ProviderForm
from providers.models import Provider
from providers.selectors import detail as reads
from providers.selectors.charts import chart_of
from providers.selectors.spend import spend_by_model, spend_by_project
from providers.services import health as by_hand
from providers.views.adding import PAGE, SECRETS, choices_of, loaded, try_out
from providers.views.models import unpack

WAYS = ("day", "project", "model")


@login_required
@require_safe
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    """A provider's state, use and cost. Analysts and owners."""
    user = person(request)
    row = selectors.provider(user, pk)
    require(user, row.workspace, Role.ANALYST)
    health = reads.health_of(row)
    models, retired = reads.model_rows(row, health)
    context = shell(request, row, "overview") | {
        "health": health,
        "strip_text": reads.strip_text(health),
        "models": models,
        "chat_models": [one.deployment for one in models if not one.deployment.embeds],
        "retired": retired,
        "changes": reads.changes_of(row),
        "batches": reads.batches_of(row),
        **spending(row, request.GET.get("by", "")),
    }
    return render(request, "providers/detail.html", context)


def spending(row: Provider, by: str) -> dict[str, Any]:
    """What the card of spending shows: by day, project or model."""
    by = by if by in WAYS else WAYS[0]
    context: dict[str, Any] = {"by": by, "ways": WAYS, "month": reads.month_label()}
    if by == "project":
        return {**context, "lines": spend_by_project(row.workspace, row.name)}
    if by == "model":
        return {**context, "lines": spend_by_model(row.workspace, row.name)}
    days = reads.days_of(row)
    return {**context, "days": days, "chart": chart_of(days, None)}


def shell(request: HttpRequest, row: Provider, tab: str) -> dict[str, Any]:
    """What every page of a provider shows around its own part."""
    user = person(request)
    may_manage = reaches(role_of(user, row.workspace), Role.OWNER)
    return {"row": row, "tab": tab, "may_manage": may_manage}


@login_required
@sensitive_post_parameters(*SECRETS)
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, pk: int) -> HttpResponse:
    """A provider's settings and keys. Owners change them; analysts are shown the overview."""
    user = person(request)
    row = selectors.provider(user, pk)
    role = require(user, row.workspace, Role.ANALYST)
    if request.method != "POST" and not reaches(role, Role.OWNER):
        return redirect("providers:detail", pk)
    require(user, row.workspace, Role.OWNER)
    form = ProviderForm(request.POST or None, provider=row)
    found = unpack(request)
    shown = choices_of(form, found)
    if form.is_bound and form.is_loading:
        shown = loaded(user, row.workspace, form)
    elif form.is_valid():
        try:
            services.save_provider(
                actor=user, workspace=row.workspace, given=form.given(found), provider=row
            )
            return try_out(request, selectors.provider(user, pk))
        except Invalid as error:
            refuse(form, error)
            row = selectors.provider(user, pk)
    context = settings_context(request, row) | {"form": form, "models": shown}
    return render(request, PAGE, context, status=status_of(form))


def settings_context(request: HttpRequest, row: Provider) -> dict[str, Any]:
    """What the page of settings shows besides its form."""
    return shell(request, row, "settings") | {
        "key_form": KeyForm(auto_id="new-%s"),
        "key_by": reads.key_changer(row),
    }


@login_required
@sensitive_post_parameters("key")
@require_POST
def replace_key(request: HttpRequest, pk: int) -> HttpResponse:
    """Use another key from the next call on. Owners only."""
    user = person(request)
    row = selectors.provider(user, pk)
    require(user, row.workspace, Role.OWNER)
    key_form = KeyForm(request.POST, auto_id="new-%s")
    if key_form.is_valid():
        try:
            services.replace_key(actor=user, provider=row, **key_form.cleaned_data)
            messages.success(request, "The new key is used from the next call on.")
            return try_out(request, selectors.provider(user, pk))
        except Invalid as error:
            refuse(key_form, error)
    form = ProviderForm(provider=row)
    context = settings_context(request, row) | {
        "form": form,
        "models": choices_of(form, {}),
        "key_form": key_form,
    }
    return render(request, PAGE, context, status=422)


@login_required
@require_POST
def drop_spare_key(request: HttpRequest, pk: int) -> HttpResponse:
    """Remove the old key of two. Owners only."""
    user = person(request)
    row = selectors.provider(user, pk)
    services.drop_spare_key(actor=user, provider=row)
    messages.success(request, "The old key is removed.")
    return redirect("providers:edit", pk)


@login_required
@require_POST
def test(request: HttpRequest, pk: int) -> HttpResponse:
    """Make a trial call now, of one model or of the first of each sort, and say what happened."""
    user = person(request)
    row = selectors.provider(user, pk)
    require(user, row.workspace, Role.ANALYST)
    number = request.POST.get("model", "")
    one = reads.model_of(row, int(number)) if number.isdecimal() and len(number) < 19 else None
    return try_out(request, row, one)


@login_required
@require_POST
def rest_model(request: HttpRequest, pk: int, model: int, act: str) -> HttpResponse:
    """Take a model out of use by hand, or return it. Owners only."""
    user = person(request)
    row = selectors.provider(user, pk)
    require(user, row.workspace, Role.OWNER)
    if act not in ("rest", "return"):
        raise NotFound
    deployment = reads.model_of(row, model)
    try:
        if act == "rest":
            by_hand.rest_deployment(actor=user, deployment=deployment)
            said = f"{deployment.model} is not asked until it is returned."
        else:
            by_hand.return_deployment(actor=user, deployment=deployment)
            said = f"{deployment.model} is in use again."
        messages.success(request, said)
    except AppError as error:
        messages.error(request, error.text)
    return redirect("providers:detail", pk)
