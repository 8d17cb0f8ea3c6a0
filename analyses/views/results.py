"""Summary, insights, batches and the numbers of the map."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render

from accounts.selectors import person
from analyses.selectors import live as state
from analyses.selectors import mapdata, news, sessions
from analyses.selectors import summary as summaries
from analyses.selectors.tree import tree_of

MAP_SECONDS = 31_536_000
"""An address with a version never changes its content."""


@login_required
def summary(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """What was learned; an analysis that has not ended opens on its live page."""
    session = sessions.session_for(person(request), slug, number)
    if not session.ended:
        return redirect("analyses:live", slug=slug, number=number)
    context = {
        "session": session,
        "notice": news.notice_of(session),
        "insights": news.insights_of(session, 6),
        "s": summaries.summary_of(session),
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
    """What failed, and why."""
    session = sessions.session_for(person(request), slug, number)
    context = {
        "session": session,
        "strip": state.strip_of(session),
        "failures": summaries.failures_of(session),
        "troubled": summaries.troubled_batches(session),
    }
    return render(request, "analyses/batches.html", context)


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
