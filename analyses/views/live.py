"""The live page and the fragments that keep it up to date."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string

from accounts.models import Role, User
from accounts.selectors import person
from accounts.services import reaches, role_of
from analyses import services
from analyses.models import AnalysisSession
from analyses.selectors import live as state
from analyses.selectors import mapdata, news, sessions
from analyses.selectors.explore import floor_of, hidden_text
from analyses.selectors.tree import tree_of
from core.errors import NotFound
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
        "feed",
    ),
    "progress": ("progress", "kpis"),
    "stage": ("progress", "kpis", "feed"),
    "batches": ("batches", "work", "feed"),
    "clusters": ("clusters", "hint", "kpis", "feed", "map"),
    "map": ("map",),
    "insights": ("insights", "feed"),
}
"""Which panels an event of each kind may change. Every panel is a partial of the full page."""

ALL_PANELS = tuple(dict.fromkeys(panel for panels in PANELS.values() for panel in panels))


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
    context = _context(session, user, panels)
    return "".join(render_to_string(f"analyses/live/_{name}.html", context) for name in panels)


def _context(session: AnalysisSession, user: User, panels: tuple[str, ...]) -> dict[str, Any]:
    """Reads only what the given panels show."""
    wanted = set(panels)
    context: dict[str, Any] = {
        "session": session,
        "may_run": reaches(role_of(user, session.project.workspace), Role.ANALYST),
        "can_pause": sessions.can_pause(session),
        "can_resume": sessions.can_resume(session),
        "can_stop": sessions.can_stop(session),
        "notice": news.notice_of(session),
        "floor": floor_of(session),
    }
    if wanted & {"progress", "kpis"}:
        context["progress"] = state.progress_of(session)
        context["expected"] = state.expected_cost(session)
    if wanted & {"clusters", "hint", "kpis", "map"}:
        context["tree"] = tree_of(session)
        context["hidden"] = hidden_text(context["tree"], context["floor"])
        context["map_version"] = mapdata.map_version(session)
    if wanted & {"batches", "work"}:
        context["strip"] = state.strip_of(session)
        context["spend"] = state.spend_of(session)
    if "insights" in wanted:
        context["insights"] = news.insights_of(session)
    if "feed" in wanted:
        context["feed"] = news.news_of(session)
    return context


@login_required
def page(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """An analysis while it works. The page is complete as served."""
    user = person(request)
    session = sessions.session_for(user, slug, number)
    seq = last_seq(session.topic)
    context = _context(session, user, ALL_PANELS)
    return render(request, "analyses/live.html", {**context, "seq": seq})


@login_required
def polled(request: HttpRequest, slug: str, number: int) -> JsonResponse:
    """What the socket would have sent, for pages whose socket is down: every panel."""
    user = person(request)
    session = sessions.session_for(user, slug, number)
    seq = last_seq(session.topic)
    version = mapdata.map_version(session)
    html = _render(session, user, ALL_PANELS)
    return JsonResponse({"seq": seq, "html": html, "map_version": version})


ACTIONS = {"pause": services.pause, "resume": services.resume, "stop": services.cancel}


@login_required
def act(request: HttpRequest, slug: str, number: int, action: str) -> HttpResponse:
    """Pause, resume or stop, by POST; a link to "stop" asks first."""
    user = person(request)
    session = sessions.session_for(user, slug, number)
    change = ACTIONS.get(action)
    if change is None:
        raise NotFound
    if request.method == "POST":
        change(actor=user, session=session)
    elif action == "stop" and sessions.can_stop(session):
        return render(request, "analyses/stop.html", _context(session, user, ("batches",)))
    return redirect("analyses:live", slug=slug, number=number)
