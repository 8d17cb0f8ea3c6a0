"""The list of analyses and the start of a new one."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from accounts.models import Role
from accounts.selectors import person
from accounts.services import reaches, require, role_of
from analyses import services
from analyses.forms import NewAnalysisForm
from analyses.selectors import sessions, starting
from core.errors import Conflict, Invalid
from core.htmx import wants_fragment
from projects import selectors as projects
from projects.models import Project


@login_required
def listing(request: HttpRequest, slug: str) -> HttpResponse:
    """The analyses of a project."""
    user = person(request)
    project = projects.project(user, slug)
    context = {
        "project": project,
        "rows": sessions.sessions_of(user, project),
        "may_run": reaches(role_of(user, project.workspace), Role.ANALYST),
        "has_data": starting.datasets_of(project).exists(),
    }
    return render(request, "analyses/list.html", context)


@login_required
def new(request: HttpRequest, slug: str) -> HttpResponse:
    """What a new analysis will do, cost and take; POST starts it, or with ``look`` looks again."""
    user = person(request)
    project = projects.project(user, slug)
    require(user, project.workspace, Role.ANALYST)
    if request.method == "POST" and ("look" in request.POST or "use" in request.POST):
        return _look(request, project)
    form = NewAnalysisForm(project, request.POST or None, initial=_initial(request, project))
    if form.is_valid():
        started = _start(request, project, form)
        if started is not None:
            return started
    return _page(request, project, form, 422 if form.errors else 200)


def _page(
    request: HttpRequest, project: Project, form: NewAnalysisForm, status: int = 200
) -> HttpResponse:
    offer = starting.offer_for(project, form.chosen)
    if form.initial.get("untouched"):
        form.initial["spend_limit"] = offer.suggested
    unready = starting.unready(project, request.GET.get("dataset", ""))
    context = {"project": project, "form": form, "offer": offer, "unready": unready}
    name = "analyses/new/_form.html" if wants_fragment(request) else "analyses/new.html"
    response = render(request, name, context, status=status)
    response.headers["Vary"] = "HX-Request"
    return response


def _look(request: HttpRequest, project: Project) -> HttpResponse:
    """The same form with the figures of what is chosen now; nothing is checked or started."""
    asked = NewAnalysisForm(project, request.POST)
    kept = {**_initial(request, project), **asked.sound, "untouched": asked.untouched}
    if request.POST.get("use"):
        kept |= asked.of_plan(request.POST["use"])
    return _page(request, project, NewAnalysisForm(project, initial=kept))


def _start(request: HttpRequest, project: Project, form: NewAnalysisForm) -> HttpResponse | None:
    """Start the analysis; ``None`` when the service refused, with the reason in the form."""
    given = form.cleaned_data
    over = given["dataset"].conversation_count if given["sample"] == "spread" else None
    by_route = given["reader"] == starting.ROUTE
    reader = {
        "chat": None if by_route else given["reader"],
        "embedding": None if by_route else given["embedding"],
        "fallback": None if by_route else given["fallback"],
        "by_route": by_route,
        "local_last": by_route and given["local_last"],
    }
    try:
        session = services.start_session(
            actor=person(request),
            project=project,
            dataset=given["dataset"],
            template_version=given["version"],
            **reader,
            spend_limit=given["spend_limit"],
            name=given["name"],
            limit=given["limit"],
            params={"spread_over": over, "bulk": given["bulk"]},
            uid=given["uid"],
        )
    except (Conflict, Invalid) as error:
        form.add_error(None, error.text)
        return None
    return redirect("analyses:live", slug=project.slug, number=session.number)


def _initial(request: HttpRequest, project: Project) -> dict[str, Any]:
    number = request.GET.get("dataset", "")
    rows = starting.datasets_of(project)
    chosen = (
        rows.filter(number=int(number)).first() if number.isdecimal() and len(number) < 10 else None
    )
    reader = request.GET.get("reader", "")
    # The form's own number: sent twice, by a second click, it starts one analysis.
    return {
        "dataset": chosen or rows.first(),
        "version": next(iter(starting.versions_for(project)), None),
        "reader": reader,
        "uid": uuid4(),
        "untouched": True,
    }
