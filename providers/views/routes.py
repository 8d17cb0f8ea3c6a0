"""The order of use: which models answer a purpose, changed step by step."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from accounts.models import Role, User, Workspace
from accounts.selectors import current_workspace, person
from accounts.services import reaches, require
from core.errors import Invalid, NotFound
from core.htmx import wants_fragment
from providers import services
from providers.forms.routes import RouteForm
from providers.models import Purpose, Strategy
from providers.selectors.order import OrderOfUse, order_of_use

CARD = "providers/parts/order.html"
SAID = {
    "move": "The order is saved.",
    "order": "The order is saved.",
    "add": "The model is added at the end.",
    "remove": "The model is no longer asked for this purpose.",
    "restore": "Every model that is on is asked, in the order they were added.",
    "strategy": "The strategy is saved.",
}
SAVED = "The route is saved."


@login_required
@require_safe
def route(request: HttpRequest, purpose: str) -> HttpResponse:
    """The card of one purpose for scripts; the page of it for everybody else."""
    user = person(request)
    workspace = current_workspace(user)
    require(user, workspace, Role.ANALYST)
    card = _card(workspace, purpose, number_of(request.GET.get("fails")))
    if not wants_fragment(request):
        return _to_page(purpose, request.GET.get("fails", ""))
    return _answer(request, user, workspace, card)


@login_required
@require_POST
def change(request: HttpRequest, purpose: str) -> HttpResponseBase:
    """One change of a route. Owners only; takes effect with the next call."""
    user = person(request)
    workspace = current_workspace(user)
    require(user, workspace, Role.OWNER)
    card = _card(workspace, purpose)
    form = RouteForm(request.POST, plan=card.plan, others=card.others)
    wrong = _save(user, workspace, purpose, form)
    said = wrong or next((text for name, text in SAID.items() if request.POST.get(name)), SAVED)
    if not wants_fragment(request):
        (messages.error if wrong else messages.success)(request, said)
        return _to_page(purpose)
    card = _card(workspace, purpose)
    return _answer(request, user, workspace, card, said=said, bad=bool(wrong))


def _save(user: User, workspace: Workspace, purpose: str, form: RouteForm) -> str:
    """Save the change; what was wrong with it, empty when nothing was."""
    if not form.is_valid():
        return str(next(iter(form.errors.values()))[0])
    try:
        services.set_route(
            actor=user,
            workspace=workspace,
            purpose=purpose,
            targets=form.targets(),
            **form.rules(),
        )
    except Invalid as error:
        return str(next(iter(error.fields.values()), error.text))
    return ""


def _card(workspace: Workspace, purpose: str, failing: int | None = None) -> OrderOfUse:
    if purpose not in Purpose.values:
        raise NotFound
    return order_of_use(workspace, purpose, failing)


def _answer(
    request: HttpRequest,
    user: User,
    workspace: Workspace,
    card: OrderOfUse,
    *,
    said: str = "",
    bad: bool = False,
) -> HttpResponse:
    context = order_context(card, owner=reaches(require(user, workspace, Role.ANALYST), Role.OWNER))
    answer = render(request, CARD, {**context, "said": said, "said_bad": bad})
    answer.headers["Vary"] = "HX-Request"
    return answer


def order_context(card: OrderOfUse, *, owner: bool) -> dict[str, Any]:
    """What the card shows."""
    return {
        "order": card,
        "purposes": Purpose.choices,
        "strategies": Strategy.choices,
        "may_manage": owner,
    }


def number_of(text: str | None) -> int | None:
    """A number from an address, ``None`` for anything else."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 19 else None


def _to_page(purpose: str, fails: str = "") -> HttpResponse:
    more = f"&fails={number_of(fails)}" if number_of(fails) else ""
    return redirect(f"{reverse('providers:list')}?purpose={purpose}{more}#providers-order")
