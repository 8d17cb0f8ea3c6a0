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
    """What a new analysis will do, cost and take; POST starts it."""
    user = person(request)
    project = projects.project(user, slug)
    require(user, project.workspace, Role.ANALYST)
    form = NewAnalysisForm(project, request.POST or None, initial=_initial(request, project))
    if form.is_valid():
        started = _start(request, project, form)
        if started is not None:
            return started
    context = {"project": project, "form": form, **_offer(project, form)}
    context["unready"] = starting.unready(project, request.GET.get("dataset", ""))
    status = 422 if form.errors else 200
    return render(request, "analyses/new.html", context, status=status)


def _start(request: HttpRequest, project: Project, form: NewAnalysisForm) -> HttpResponse | None:
    """Start the analysis; ``None`` when the service refused, with the reason in the form."""
    given = form.cleaned_data
    try:
        session = services.start_session(
            actor=person(request),
            project=project,
            dataset=given["dataset"],
            template_version=given["version"],
            chat=given["reader"],
            embedding=given["embedding"],
            name=given["name"],
            limit=given["limit"],
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
    return {"dataset": chosen or rows.first(), "reader": reader, "uid": uuid4()}


def _offer(project: Project, form: NewAnalysisForm) -> dict[str, Any]:
    """The chosen data set, who could read it, and what each would cost."""
    bound = form.cleaned_data.get("dataset") if form.is_bound and not form.is_valid() else None
    dataset = bound or form.initial.get("dataset")
    options = starting.options_for(project, dataset, None)
    values = {option.value for option in options}
    chosen = str(form["reader"].value() or "")
    return {
        "dataset": dataset,
        "options": options,
        "chosen": chosen if chosen in values else "",
    }
