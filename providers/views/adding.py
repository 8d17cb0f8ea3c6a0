"""Adding a provider: a preset is chosen, its form filled in, its models loaded and ticked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from accounts.models import Role, User, Workspace
from accounts.selectors import current_workspace, person
from accounts.services import require
from core.errors import AppError, Invalid
from core.forms import refuse, status_of
from providers import selectors, services
from providers.clients.presets import PRESETS, Preset, preset
from providers.forms import ProviderForm
from providers.models import ModelDeployment, Provider, ProviderKind
from providers.services import ModelInput
from providers.services.deployments import may_be_private
from providers.services.inputs import MOST_MODELS
from providers.views.models import (
    Choices,
    choices,
    load,
    loading_text,
    pack,
    refused,
    unpack,
)

SECRETS = ("key", "proxy", "headers")
PAGE = "providers/form.html"
LIST = "providers/parts/models.html"


@login_required
@sensitive_post_parameters(*SECRETS)
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """Choose a preset, then add a provider and try it out."""
    user = person(request)
    workspace = current_workspace(user)
    require(user, workspace, Role.OWNER)
    key = request.POST.get("preset", "") or request.GET.get("preset", "")
    chosen = preset(key)
    if request.method != "POST" and chosen is None:
        return render(request, "providers/presets.html", {"groups": preset_groups()})
    if "connect" in request.POST and chosen is not None and chosen.local:
        return connect(request, user, workspace, chosen)
    chosen = chosen or preset("compatible")
    form = ProviderForm(request.POST or None, chosen=chosen)
    found = unpack(request)
    shown = choices_of(form, found)
    if form.is_bound and form.is_loading:
        shown = loaded(user, workspace, form)
    elif form.is_valid():
        try:
            row = services.save_provider(actor=user, workspace=workspace, given=form.given(found))
            return try_out(request, row)
        except Invalid as error:
            refuse(form, error)
    context = {"form": form, "preset": chosen, "models": shown, "row": None}
    return render(request, PAGE, context, status=status_of(form))


@login_required
@sensitive_post_parameters(*SECRETS)
@require_POST
def models(request: HttpRequest) -> HttpResponse:
    """The list of models for scripts: asked for live, ticks kept. Owners only."""
    user = person(request)
    workspace = current_workspace(user)
    require(user, workspace, Role.OWNER)
    number = request.GET.get("provider", "")
    row = selectors.provider(user, int(number)) if number.isdecimal() else None
    if row is not None:
        require(user, row.workspace, Role.OWNER)
    chosen = None if row else preset(request.POST.get("preset", "")) or preset("compatible")
    data = request.POST.copy()
    data["load"] = "1"
    form = ProviderForm(data, provider=row, chosen=chosen)
    shown = loaded(user, row.workspace if row else workspace, form)
    return render(request, LIST, {"form": form, "models": shown, "row": row, "preset": chosen})


def connect(request: HttpRequest, user: User, workspace: Workspace, chosen: Preset) -> HttpResponse:
    """One click: ask the server on this machine for its models, offer them all, try it out."""
    data = {"preset": chosen.key, "name": free_name(workspace, chosen.name), "load": "1"}
    blank = ProviderForm(chosen=chosen)
    for name in ("base_url", *TIMES):
        data[name] = str(blank.get_initial_for_field(blank.fields[name], name))
    data["enabled"] = "on"
    form = ProviderForm(data, chosen=chosen)
    try:
        if form.is_valid():
            found = load(user, workspace, form, None)
            given = replace(form.given(), models=usable(found))
            if not given.models:
                raise Invalid(fields={"base_url": f"{chosen.name} answers and has no models yet."})
            row = services.save_provider(actor=user, workspace=workspace, given=given)
            return try_out(request, row)
    except Invalid as error:
        refuse(form, error)
    del data["load"]  # what is wrong stands above the form, as when it was to be saved
    context = {"form": form, "preset": chosen, "models": Choices(), "row": None}
    return render(request, PAGE, context, status=422)


TIMES = ("concurrency", "connect_timeout", "first_byte_timeout", "total_timeout")


def usable(found: Mapping[str, ModelInput]) -> list[ModelInput]:
    """Everything a small server of one's own lists, chat models first."""
    return sorted(found.values(), key=lambda one: one.embeds)[:MOST_MODELS]


def free_name(workspace: Workspace, name: str) -> str:
    """The name, with a number if it is taken."""
    taken = set(Provider.objects.filter(workspace=workspace).values_list("name", flat=True))
    names = [name, *(f"{name} {number}" for number in range(2, 100))]
    return next((one for one in names if one not in taken), name)


def loaded(user: User, workspace: Workspace, form: ProviderForm) -> Choices:
    """The list asked for now; what is wrong stands beside the field and in the list's place."""
    if not form.is_valid():
        texts = [
            f"{form[name].label}: {' '.join(map(str, errors))}" if name in form.fields else ""
            for name, errors in form.errors.items()
        ]
        return Choices(text=" ".join(filter(None, texts)) or "Check the fields above.", bad=True)
    try:
        found = load(user, workspace, form, form.provider)
    except AppError as error:
        refuse(form, error)
        return refused(error)
    shown = choices_of(form, found)
    shown.text = loading_text(len(found))
    shown.packed = pack(found.values())
    return shown


def choices_of(form: ProviderForm, found: Mapping[str, ModelInput]) -> Choices:
    """The models to choose from in a form."""
    kept, chosen = form.provider, form.chosen
    kind = kept.kind if kept else chosen.kind if chosen else ProviderKind.OPENAI
    typed = form.data.get("base_url", "") if form.is_bound else ""
    base_url = typed or (kept.base_url if kept else chosen.base_url if chosen else "")
    return choices(form, found, base_url=base_url, kind=kind)


def preset_groups() -> list[tuple[str, str, list[dict[str, Any]]]]:
    """The presets as the page groups them: title, a word about them, cards."""
    hosted = [one for one in PRESETS if one.needs_key]
    local = [one for one in PRESETS if one.local]
    other = [one for one in PRESETS if one not in hosted and one not in local]
    return [
        ("In the cloud", "With a key of your own.", cards(hosted)),
        ("On your own machines", local_hint(), cards(local)),
        ("Something else", "Whatever speaks the OpenAI way, or made-up answers.", cards(other)),
    ]


def cards(presets: Iterable[Preset]) -> list[dict[str, Any]]:
    """What each card shows: its preset, and whether one click is enough."""
    return [
        {"preset": one, "may_connect": bool(one.local) and may_be_private(one.base_url)}
        for one in presets
    ]


def local_hint() -> str:
    """What holds for servers on this machine."""
    if settings.LOCAL_MODELS or settings.ALLOW_PRIVATE_PROVIDERS:
        return "Connect asks the usual port on this machine and offers what it finds there."
    return "An operator has to allow servers on this machine first."


def try_out(
    request: HttpRequest, row: Provider, model: ModelDeployment | None = None
) -> HttpResponse:
    """The provider's page with the result of a trial call, of one model if named."""
    one = {"deployment": model} if model else {}
    try:
        services.test_provider(actor=person(request), provider=row, **one)
    except AppError as error:
        messages.error(request, error.text)
    return redirect("providers:detail", row.pk)
