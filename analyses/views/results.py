"""Summary, insights, batches and the numbers of the map."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render

from accounts.models import Role, User
from accounts.selectors import person
from accounts.services import reaches, role_of
from analyses.models import AnalysisSession
from analyses.selectors import batches as rows_of
from analyses.selectors import controls, mapdata, news, readers, sessions
from analyses.selectors import summary as summaries
from analyses.selectors.tree import tree_of
from analyses.views.live import untold

MAP_SECONDS = 31_536_000
"""An address with a version never changes its content."""


@login_required
def summary(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """What was learned; an analysis that has not ended opens on its live page."""
    user = person(request)
    session = sessions.session_for(user, slug, number)
    if not session.ended:
        return redirect("analyses:live", slug=slug, number=number)
    role = role_of(user, session.project.workspace)
    found = summaries.summary_of(session)
    context = {
        "session": session,
        "notices": untold(request, session),
        "may_run": reaches(role, Role.ANALYST),
        "may_own": reaches(role, Role.OWNER),
        "insights": news.insights_of(session, 6),
        "s": found,
        "mixed": readers.mixed_of(session, found.spend),
    }
    return render(request, "analyses/summary.html", context)


@login_required
def insights(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """What is worth a look."""
    session = sessions.session_for(person(request), slug, number)
    context = {"session": session, "insights": news.insights_of(session)}
    return render(request, "analyses/insights.html", context)


@login_required
def batches(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """Every batch, and what failed with its reasons."""
    user = person(request)
    session = sessions.session_for(user, slug, number)
    show, stage = request.GET.get("show", ""), request.GET.get("stage", "")
    asked = request.GET.get("batch", "")
    page = rows_of.table_of(session, show, stage, request.GET.get("page", ""), asked)
    context = {
        **_failing(session, user),
        "strip": rows_of.strip_of(session),
        "page": page,
        "rows": [rows_of.row_of(batch) for batch in page],
        "filters": [name for name in rows_of.SHOW if name],
        "counts": rows_of.counts_of(session, stage),
        "show": show if show in rows_of.SHOW else "",
        "stage": stage,
        "asked": asked,
        "failures": rows_of.failures_of(session),
    }
    return render(request, "analyses/batches.html", context)


@login_required
def failed(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """All conversations that failed for one reason."""
    user = person(request)
    session = sessions.session_for(user, slug, number)
    error_class = request.GET.get("class", "")
    context = {
        **_failing(session, user),
        "page": rows_of.failed_page(session, error_class, request.GET.get("page", "")),
        "reason": rows_of.reason(error_class),
        "error_class": error_class,
        "hopeless": error_class in rows_of.HOPELESS,
    }
    return render(request, "analyses/failed.html", context)


def _failing(session: AnalysisSession, user: User) -> dict[str, Any]:
    """What both pages about failures need."""
    may_run = reaches(role_of(user, session.project.workspace), Role.ANALYST)
    can_retry = controls.allows(session, "retry")
    return {"session": session, "may_run": may_run, "may_retry": may_run and can_retry}


@login_required
def map_data(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """The dots in the wire format of :mod:`analyses.selectors.mapdata`."""
    session = sessions.session_for(person(request), slug, number)
    tree = tree_of(session)
    version = mapdata.map_version(session)
    body = mapdata.encode(mapdata.picture(session, tree), tree, version)
    response = HttpResponse(body, content_type="application/octet-stream")
    if request.GET.get("v") == str(version):
        response.headers["Cache-Control"] = f"private, max-age={MAP_SECONDS}, immutable"
    return response


@login_required
def map_clusters(request: HttpRequest, slug: str, number: int) -> JsonResponse:
    """The clusters that colour the dots, in the order that the dots count them."""
    session = sessions.session_for(person(request), slug, number)
    tree = tree_of(session)
    body = {"clusters": mapdata.clusters_json(tree), "provisional": tree.provisional}
    return JsonResponse(body)
