"""The live page and the fragments that keep it up to date."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string

from accounts.models import Role, User
from accounts.selectors import person
from accounts.services import reaches, role_of
from analyses.forms import LimitForm, ProvidersForm
from analyses.models import AnalysisSession
from analyses.selectors import (
    batches,
    controls,
    limits,
    mapdata,
    news,
    notices,
    readers,
    sessions,
)
from analyses.selectors import live as state
from analyses.selectors.explore import floor_of, hidden_text
from analyses.selectors.tree import tree_of
from core.events import last_seq

PANELS: dict[str, tuple[str, ...]] = {
    "status": (
        "status",
        "actions",
        "notice",
        "progress",
        "kpis",
        "clusters",
        "hint",
        "map",
        "batches",
        "work",
        "feed",
        "dialogs",
    ),
    "progress": ("progress", "kpis"),
    "stage": ("progress", "kpis", "feed"),
    "batches": ("batches", "work", "feed"),
    "away": ("notice", "batches", "feed"),
    "recovery": ("notice", "batches", "feed", "dialogs"),
    "budget": ("notice", "kpis", "work", "feed", "dialogs"),
    "clusters": ("clusters", "hint", "kpis", "feed", "map"),
    "map": ("map",),
    "insights": ("insights", "feed"),
}
"""Which panels an event of each kind may change. Every panel is a partial of the full page."""

ALL_PANELS = tuple(dict.fromkeys(panel for panels in PANELS.values() for panel in panels))
TOLD = "told"
"""Cookie that names the notices a person has dismissed, joined by dots; scripts write it as well."""


def panels_for(kinds: frozenset[str]) -> tuple[str, ...]:
    """The panels to redraw, in page order."""
    wanted = {panel for kind in kinds for panel in PANELS.get(kind, ())}
    return tuple(panel for panel in ALL_PANELS if panel in wanted)


def fragments(user: User, session_pk: int, kinds: frozenset[str]) -> str:
    """HTML of the panels that events of these kinds may have changed; each root has its id.

    Raises :class:`NotFound` for people who may not see the analysis.
    """
    session = sessions.session_by_pk(user, session_pk)
    return _render(session, user, panels_for(kinds))


def may_watch(user: User, pk: str) -> bool:
    """Whether the person may follow the topic ``analysis:<pk>``."""
    return pk.isdecimal() and AnalysisSession.objects.for_user(user).filter(pk=int(pk)).exists()


def news_for(user: User, pk: str, kinds: frozenset[str]) -> dict[str, Any]:
    """The socket's message for events of these kinds: HTML and the number of the map."""
    session = sessions.session_by_pk(user, int(pk))
    return {
        "html": _render(session, user, panels_for(kinds)),
        "map_version": mapdata.map_version(session),
    }


def _render(session: AnalysisSession, user: User, panels: tuple[str, ...]) -> str:
    context = context_of(session, user, panels)
    return "".join(render_to_string(f"analyses/live/_{name}.html", context) for name in panels)


def context_of(session: AnalysisSession, user: User, panels: tuple[str, ...]) -> dict[str, Any]:
    """What the given panels show, and no more."""
    wanted = set(panels)
    role = role_of(user, session.project.workspace)
    context: dict[str, Any] = {
        "session": session,
        "may_run": reaches(role, Role.ANALYST),
        "may_own": reaches(role, Role.OWNER),
        "controls": controls.controls_of(session),
        "can_pause": sessions.can_pause(session),
        "floor": floor_of(session),
    }
    for needed, read in READS:
        if wanted & needed:
            context |= read(session)
    if "dialogs" in wanted:
        context |= asked_of(session, role)
    return context


def _progress(session: AnalysisSession) -> dict[str, Any]:
    return {"progress": state.progress_of(session), "expected": state.expected_cost(session)}


def _groups(session: AnalysisSession) -> dict[str, Any]:
    tree = tree_of(session)
    return {
        "tree": tree,
        "hidden": hidden_text(tree, floor_of(session)),
        "map_version": mapdata.map_version(session),
    }


def _spending(session: AnalysisSession) -> dict[str, Any]:
    spend = state.spend_of(session)
    return {"spend": spend, "mixed": readers.mixed_of(session, spend)}


def _limits(session: AnalysisSession) -> dict[str, Any]:
    found = limits.limits_of(session)
    return {"limits": found, "tightest": limits.tightest(found)}


READS: tuple[tuple[set[str], Callable[[AnalysisSession], dict[str, Any]]], ...] = (
    ({"progress", "kpis"}, _progress),
    ({"progress"}, lambda session: {"saved": batches.saved_of(session)}),
    ({"clusters", "hint", "kpis", "map"}, _groups),
    ({"batches", "work", "dialogs"}, lambda session: {"strip": batches.strip_of(session)}),
    ({"work"}, _spending),
    ({"kpis", "work"}, _limits),
    ({"notice"}, lambda session: {"notices": notices.notices_of(session)}),
    ({"insights"}, lambda session: {"insights": news.insights_of(session)}),
    ({"feed"}, lambda session: {"feed": news.news_of(session)}),
)
"""Which panels need what. Each is read once, whatever number of panels shows it."""


def asked_of(session: AnalysisSession, role: Role | None) -> dict[str, Any]:
    """What the dialogs and the pages of the same name show."""
    found: dict[str, Any] = {"recovery": notices.recovery_of(session)}
    if not session.chat_id or not reaches(role, Role.ANALYST):
        return found
    if controls.allows(session, "providers"):
        chosen = {"chat": session.chat_id, "fallback": session.fallback_id}
        found["providers_form"] = ProvidersForm(
            session.project, initial=chosen, auto_id="providers-%s"
        )
    return found if session.ended else found | _limiting(session, role)


def _limiting(session: AnalysisSession, role: Role | None) -> dict[str, Any]:
    """The form for the limit that is reached first, with a sensible amount."""
    limit = limits.tightest(limits.limits_of(session))
    kind, period = (limit.kind, limit.state.period) if limit else ("analysis", "all")
    amount = limits.next_amount(session, limit)
    form = LimitForm(
        initial={"kind": kind, "period": period, "amount": f"{amount:.2f}"}, auto_id="limit-%s"
    )
    may = kind == "analysis" or reaches(role, Role.OWNER)
    return {"limit": limit, "may_limit": may, "limit_form": form}


@login_required
def page(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """An analysis while it works. The page is complete as served."""
    user = person(request)
    return live_page(request, sessions.session_for(user, slug, number))


def live_page(
    request: HttpRequest, session: AnalysisSession, refused: notices.Notice | None = None
) -> HttpResponse:
    """The whole page; after a refused wish with the notice that says why."""
    user = person(request)
    seq = last_seq(session.topic)
    context = context_of(session, user, tuple(name for name in ALL_PANELS if name != "notice"))
    context["notices"] = untold(request, session) if refused is None else [refused]
    status = 200 if refused is None else 409
    return render(request, "analyses/live.html", {**context, "seq": seq}, status=status)


def untold(request: HttpRequest, session: AnalysisSession) -> list[notices.Notice]:
    """The notices without those that were dismissed in this browser."""
    told = request.COOKIES.get(TOLD, "-").split(".")
    return [one for one in notices.notices_of(session) if one.told not in told]


@login_required
def polled(request: HttpRequest, slug: str, number: int) -> JsonResponse:
    """What the socket would have sent, for pages whose socket is down: every panel."""
    user = person(request)
    session = sessions.session_for(user, slug, number)
    seq = last_seq(session.topic)
    version = mapdata.map_version(session)
    html = _render(session, user, ALL_PANELS)
    return JsonResponse({"seq": seq, "html": html, "map_version": version})
