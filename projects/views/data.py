"""The first page, projects, and their data."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from accounts.models import Role
from accounts.selectors import current_workspace, person
from accounts.services import require
from core.errors import AppError
from core.forms import refuse, status_of
from core.htmx import STOP_POLLING, page_or_fragment
from projects import selectors, services
from projects.forms import ProjectForm, UploadForm

DATASETS_PER_PAGE = 25


@login_required
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """What is running, what is new, and the projects."""
    rows = selectors.projects(person(request))[:6]
    return render(request, "projects/home.html", {"projects": rows})


@require_safe
def running(request: HttpRequest) -> HttpResponse:
    """What is running, for the sidebar. A page that was signed out is told to stop asking."""
    if not request.user.is_authenticated:
        return HttpResponse(status=STOP_POLLING)
    return render(request, "components/running.html")


@login_required
@require_safe
def project_list(request: HttpRequest) -> HttpResponse:
    """All projects of the person."""
    rows = Paginator(selectors.projects(person(request)), 24)
    page = rows.get_page(request.GET.get("page"))
    return render(request, "projects/list.html", {"page": page})


@login_required
def new(request: HttpRequest) -> HttpResponse:
    """Make a project."""
    user = person(request)
    workspace = current_workspace(user)
    require(user, workspace, Role.ANALYST)
    form = ProjectForm(request.POST or None)
    if form.is_valid():
        try:
            made = services.create_project(actor=user, workspace=workspace, **form.cleaned_data)
            return redirect("projects:overview", made.slug)
        except AppError as error:
            refuse(form, error)
    return render(request, "projects/new.html", {"form": form}, status=status_of(form))


@login_required
@require_safe
def overview(request: HttpRequest, slug: str) -> HttpResponse:
    """What is known about a project."""
    project = selectors.project(person(request), slug)
    context = {
        "project": project,
        "figures": selectors.overview(project),
        "datasets": selectors.datasets(project)[:5],
    }
    return render(request, "projects/overview.html", context)


@login_required
@require_safe
def data(request: HttpRequest, slug: str) -> HttpResponse:
    """The data sets of a project."""
    project = selectors.project(person(request), slug)
    rows = Paginator(selectors.datasets(project), DATASETS_PER_PAGE)
    context = {"project": project, "page": rows.get_page(request.GET.get("page"))}
    return render(request, "projects/data.html", context)


@login_required
def upload(request: HttpRequest, slug: str) -> HttpResponse:
    """Send a file of conversations."""
    user = person(request)
    project = selectors.project(user, slug)
    require(user, project.workspace, Role.ANALYST)
    sent = request.method == "POST"
    form = UploadForm(request.POST if sent else None, request.FILES if sent else None)
    if form.is_valid():
        try:
            record = services.upload(actor=user, project=project, **form.cleaned_data)
            return redirect("projects:dataset", slug, record.dataset.number)
        except AppError as error:
            refuse(form, error)
    context = {"project": project, "form": form, "limit": services.UPLOAD_LIMIT}
    return render(request, "projects/upload.html", context, status=status_of(form))


@login_required
@require_safe
def dataset(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """One data set: how far it is read, then what is in it and what was wrong with it."""
    found = selectors.dataset(person(request), slug, number)
    context = {"project": found.project, "page": selectors.dataset_page(found)}
    return page_or_fragment(request, "projects/dataset.html", "projects/_dataset.html", context)


@login_required
@require_safe
def conversation(request: HttpRequest, slug: str, number: int, position: int) -> HttpResponse:
    """One conversation as it was uploaded, for analysts. Opening it is recorded."""
    user = person(request)
    found = selectors.conversation(user, slug, number, position)
    require(user, found.dataset.project.workspace, Role.ANALYST)
    services.record_opening(actor=user, conversation=found)
    context = {"project": found.dataset.project, "conversation": found}
    return render(request, "projects/conversation.html", context)
