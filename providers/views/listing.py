"""The list of providers: their state, use and cost, kept up to date."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_POST, require_safe

from accounts.models import Membership, Role, User, Workspace
from accounts.selectors import current_workspace, person
from accounts.services import reaches, require
from core.errors import Conflict
from core.events import last_seq
from core.figures import count_of
from core.htmx import wants_fragment
from providers import selectors, services
from providers.clients.presets import PRESETS
from providers.events import topic_of
from providers.models import ModelDeployment, Provider, Purpose
from providers.selectors.ceilings import ceilings
from providers.selectors.charts import chart_of
from providers.selectors.happenings import ChangeRow, recent_changes
from providers.selectors.order import order_of_use
from providers.selectors.spend import (
    MonthSpend,
    SpendDays,
    Spent,
    month_spend,
    spend_by_model,
    spend_by_project,
    spend_days,
)
from providers.services.health import rest_deployment, return_deployment
from providers.views.routes import number_of, order_context

FIRST_YEAR = 2000
WAYS = ("day", "project", "model")
SHOWN, PAGE = 4, 40
"""Entries of what happened on this page, and on the page of all of them."""
PANELS = ("notice", "kpis", "rows", "feed", "limits")
"""What an event may change; each is a partial of the page whose root has its name as id."""

AGAIN = ("providers-order", "providers-spend")
"""Panels that depend on what is chosen in the page: it asks for them itself."""


ORDER_ONLY = frozenset({"route"})
"""Kinds of events that change nothing but the order of use."""


@login_required
@require_safe
def provider_list(request: HttpRequest) -> HttpResponse:
    """Who reads the conversations, how they do, and what it costs. Complete as served."""
    user = person(request)
    workspace = current_workspace(user)
    role = require(user, workspace, Role.ANALYST)
    seq = last_seq(topic_of(workspace.pk))
    owner = reaches(role, Role.OWNER)
    days = spend_days(workspace)
    context = panel_context(workspace, owner=owner, spent=days.totals)
    context |= {"topic": topic_of(workspace.pk), "seq": seq, "presets": PRESETS}
    if not context["rows"]:
        return render(request, "providers/list.html", context)
    purpose = request.GET.get("purpose", Purpose.FACETS)
    purpose = purpose if purpose in Purpose.values else Purpose.FACETS
    card = order_of_use(workspace, purpose, number_of(request.GET.get("fails")))
    return render(
        request,
        "providers/list.html",
        {
            **context,
            **spend_context(workspace, request.GET.get("by", ""), context["month"], days),
            **order_context(card, owner=owner),
        },
    )


def panel_context(
    workspace: Workspace, *, owner: bool, spent: Mapping[str, Spent] | None = None
) -> dict[str, Any]:
    """What the panels that events may change show. ``spent`` is this month's by provider."""
    rows = selectors.provider_rows(workspace, spent)
    down = [row for row in rows if row.state == "down"]
    month = month_spend(workspace)
    others = len(down) - 1
    return {
        "rows": rows,
        "figures": selectors.figures(workspace, rows, month),
        "month": month,
        "down": down[0] if down else None,
        "more_down": f"{count_of(others, 'other')} as well." if others > 0 else "",
        "changes": [(change, sign_of(change)) for change in recent_changes(workspace, SHOWN)],
        "limit_rows": ceilings(workspace, month),
        "may_manage": owner,
    }


def sign_of(change: ChangeRow) -> tuple[str, str]:
    """The icon of an entry and its tone."""
    if change.tone == "good":
        return "check", "o"
    if change.tone == "warning":
        return (
            ("switch-horizontal", "w") if "moved to" in change.note else ("plug-connected-x", "b")
        )
    return ("key", "a") if " key " in change.text else ("hand-stop", "")


@login_required
@require_safe
def events(request: HttpRequest) -> HttpResponse:
    """Everything that happened, a page at a time, newest first."""
    user = person(request)
    workspace = current_workspace(user)
    require(user, workspace, Role.ANALYST)
    before = parsed(request.GET.get("before", ""))
    found = recent_changes(workspace, PAGE + 1, before)
    shown = found[:PAGE]
    context = {
        "changes": [(change, sign_of(change)) for change in shown],
        "first": before is None,
        "older": shown[-1].at.isoformat() if len(found) > PAGE else "",
    }
    return render(request, "providers/events.html", context)


def parsed(text: str) -> datetime | None:
    """A moment from an address; ``None`` for anything that is none, with its zone, in this age."""
    try:
        moment = parse_datetime(text[:40])
    except ValueError:
        return None
    known = moment is not None and moment.tzinfo is not None and moment.year > FIRST_YEAR
    return moment if known else None


def may_watch(user: User, pk: str) -> bool:
    """Whether the person may follow the topic ``providers:<workspace>``: analysts and owners."""
    return role_in(user, pk) is not None


def role_in(user: User, pk: str) -> Role | None:
    """The person's role in the workspace of a topic, ``None`` below analyst."""
    if not (pk.isascii() and pk.isdecimal() and len(pk) < 19):
        return None
    row = Membership.objects.filter(user=user, workspace_id=int(pk)).first()
    role = Role(row.role) if row else None
    return role if reaches(role, Role.ANALYST) else None


def news_for(user: User, pk: str, kinds: frozenset[str]) -> dict[str, Any]:
    """The socket's message: the panels as they are now, and those to ask for again."""
    workspace = Workspace.objects.get(pk=int(pk))
    owner = reaches(require(user, workspace, Role.ANALYST), Role.OWNER)
    if kinds <= ORDER_ONLY:
        return {"html": "", "again": ["providers-order"]}
    return {"html": _panels(workspace, owner=owner), "again": list(AGAIN)}


@login_required
@require_safe
def fragments(request: HttpRequest) -> JsonResponse:
    """What the socket would have sent, for pages whose socket is down."""
    user = person(request)
    workspace = current_workspace(user)
    owner = reaches(require(user, workspace, Role.ANALYST), Role.OWNER)
    seq = last_seq(topic_of(workspace.pk))
    html = _panels(workspace, owner=owner)
    return JsonResponse({"seq": seq, "html": html, "again": list(AGAIN)})


def _panels(workspace: Workspace, *, owner: bool) -> str:
    context = panel_context(workspace, owner=owner)
    return "".join(render_to_string(f"providers/parts/{name}.html", context) for name in PANELS)


@login_required
@require_safe
def spend(request: HttpRequest) -> HttpResponse:
    """The card of spending for scripts; the page for everybody else."""
    user = person(request)
    workspace = current_workspace(user)
    require(user, workspace, Role.ANALYST)
    by = request.GET.get("by", "")
    if not wants_fragment(request):
        return redirect(f"{request.path.removesuffix('spend/')}?by={by if by in WAYS else 'day'}")
    context = spend_context(workspace, by, month_spend(workspace))
    answer = render(request, "providers/parts/spend.html", context)
    answer.headers["Vary"] = "HX-Request"
    return answer


def spend_context(
    workspace: Workspace, by: str, month: MonthSpend, days: SpendDays | None = None
) -> dict[str, Any]:
    """What the card of spending shows: by day, project or model."""
    by = by if by in WAYS else WAYS[0]
    context: dict[str, Any] = {"by": by, "ways": WAYS, "month": month}
    if by == "project":
        return {**context, "lines": spend_by_project(workspace)}
    if by == "model":
        return {**context, "lines": spend_by_model(workspace)}
    days = days or spend_days(workspace)
    table = [
        {
            "day": f"{day} {days.start:%B}",
            "cells": [days.cells.get((day, name)) for name in days.names],
            "total": days.on(day),
        }
        for day in sorted({day for day, _ in days.cells})
    ]
    return {
        **context,
        "days": days,
        "chart": chart_of(days, month.limit),
        "table": table,
        "columns": len(days.names) + 2,
    }


@login_required
@require_POST
def test_all(request: HttpRequest) -> HttpResponseBase:
    """Try every provider that is on, in the background; results show as they come."""
    user = person(request)
    count = services.begin_trials(actor=user, workspace=current_workspace(user))
    if count:
        said = f"Testing {count_of(count, 'provider')}. Each result shows here when it is in."
        messages.success(request, said)
    else:
        messages.error(request, "No provider is switched on. Switch one on, then test it.")
    return redirect("providers:list")


@login_required
@require_POST
def switch(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Switch a provider on or off."""
    user = person(request)
    row = selectors.provider(user, pk)
    enabled = request.POST.get("enabled") == "1"
    services.set_enabled(actor=user, provider=row, enabled=enabled)
    if wants_fragment(request):
        context = {"rows": selectors.provider_rows(row.workspace), "may_manage": True}
        answer = render(request, "providers/parts/rows.html", context)
        answer.headers["HX-Trigger"] = "providers-changed"
        return answer
    messages.success(request, f"{row.name} is {'on' if enabled else 'off'} for new analyses.")
    return redirect("providers:list")


@login_required
@require_POST
def rest_all(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Take every model of a provider out of use until it is returned by hand."""
    user = person(request)
    row = selectors.provider(user, pk)
    count = _each(row, lambda model: rest_deployment(actor=user, deployment=model))
    if count:
        text = f"{row.name} rests. Its work goes to the next model; calls under way end as usual."
        messages.success(request, text)
    else:
        messages.error(request, f"{row.name} rests already.")
    return redirect("providers:list")


@login_required
@require_POST
def return_all(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Return every model of a provider that rests, for whatever reason."""
    user = person(request)
    row = selectors.provider(user, pk)
    count = _each(row, lambda model: return_deployment(actor=user, deployment=model))
    if count:
        messages.success(request, f"{row.name} is back in use.")
    else:
        messages.error(request, f"{row.name} is in use already.")
    return redirect("providers:list")


def _each(row: Provider, change: Callable[[ModelDeployment], None]) -> int:
    """Change every model that is offered; how many were not so already."""
    count = 0
    for model in row.deployments.all():
        model.provider = row
        try:
            change(model)
            count += 1
        except Conflict:
            continue
    return count
