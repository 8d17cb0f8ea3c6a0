"""Explore, the cluster and conversation pages."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.cache import add_never_cache_headers
from django.views.decorators.http import require_POST

from accounts.models import Role
from accounts.selectors import person
from accounts.services import reaches, role_of
from analyses.models import AnalysisSession
from analyses.selectors import explore as views_of
from analyses.selectors import facts, mapdata, reading, sessions
from analyses.selectors.tree import tree_of
from analyses.services.reading import reveal as record_reveal

MAX_MESSAGE = 1_000_000


@login_required
def explore(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """Tree, map and reader; scripts ask for the panes alone."""
    session = sessions.session_for(person(request), slug, number)
    context = {
        "session": session,
        "x": views_of.explore(session, request.GET),
        "map_version": mapdata.map_version(session),
    }
    part = request.headers.get("X-Panes") == "1"
    name = "analyses/explore/_panes.html" if part else "analyses/explore.html"
    response = render(request, name, context)
    response.headers["Vary"] = "X-Panes"
    return response


@login_required
def cluster(request: HttpRequest, slug: str, number: int, key: int) -> HttpResponse:
    """One cluster: what it is, how it divides, who says so."""
    session = sessions.session_for(person(request), slug, number)
    page = views_of.cluster_page(session, key, request.GET.get("after"))
    context = {
        "session": session,
        "page": page,
        "node": page.node,
        "breakdowns": facts.breakdowns_of(session, page.node),
    }
    return render(request, "analyses/cluster.html", context)


@login_required
def conversation(request: HttpRequest, slug: str, number: int, position: int) -> HttpResponse:
    """One conversation on a page of its own."""
    session = sessions.session_for(person(request), slug, number)
    start = request.GET.get("from", "0")
    first = min(int(start), MAX_MESSAGE) if start.isdecimal() else 0
    return _conversation(request, session, position, start=first, raw=False)


@login_required
@require_POST
def reveal(request: HttpRequest, slug: str, number: int, position: int) -> HttpResponse:
    """The same page with the text as written; the opening is recorded first."""
    user = person(request)
    session = sessions.session_for(user, slug, number)
    item = reading.item_for(session, position)
    record_reveal(actor=user, session=session, item=item)
    response = _conversation(request, session, position, start=0, raw=True)
    add_never_cache_headers(response)
    return response


def _conversation(
    request: HttpRequest,
    session: AnalysisSession,
    position: int,
    *,
    start: int,
    raw: bool,
) -> HttpResponse:
    item = reading.item_for(session, position)
    context = {
        "session": session,
        "reading": reading.reading_of(item, tree_of(session), start=start, raw=raw),
        "place": views_of.neighbours(session, position),
        "may_reveal": reaches(role_of(person(request), session.project.workspace), Role.ANALYST),
    }
    return render(request, "analyses/conversation.html", context)


@login_required
def point(request: HttpRequest, slug: str, number: int, position: int) -> JsonResponse:
    """The card of one dot on the map."""
    session = sessions.session_for(person(request), slug, number)
    return JsonResponse(views_of.card(session, position))
