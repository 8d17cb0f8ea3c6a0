"""Jobs: what is in work, what became of it, and starting more."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid4

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import FileResponse, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_POST, require_safe

from accounts.models import Role
from accounts.selectors import person
from accounts.services import reaches, role_of
from core.errors import NotFound
from core.htmx import STOP_POLLING, page_or_fragment
from projects import selectors
from projects.forms import JobRequest
from projects.models import Job, Project
from projects.selectors import jobs as reads
from projects.services import jobs as changes
from projects.services.files import open_file
from projects.services.imports import cancel_import, retry_import

FAILED_PER_PAGE = 50
SHORT = 8
"""Entries of the drawer."""

ACTIONS = {
    "cancel": (changes.cancel_job, "The job is stopping. What is done stays done."),
    "retry": (changes.retry_failed, "What failed is tried again."),
    "undo": (changes.undo_job, "Undone."),
}
IMPORT_ACTIONS = {
    "cancel": (cancel_import, "Reading was stopped. Nothing of the file was kept."),
    "retry": (retry_import, "The file is read again."),
}


@login_required
@require_safe
def listing(request: HttpRequest, slug: str) -> HttpResponse:
    """The jobs of one project."""
    user = person(request)
    project = selectors.project(user, slug)
    may = reaches(role_of(user, project.workspace), Role.ANALYST)
    return _listing(request, Project.objects.filter(pk=project.pk), may, project)


@login_required
@require_safe
def everywhere(request: HttpRequest) -> HttpResponse:
    """The jobs of all projects of the person."""
    return _listing(request, Project.objects.for_user(person(request)), may_change=False)


def _listing(
    request: HttpRequest,
    projects: QuerySet[Project],
    may_change: bool,
    project: Project | None = None,
) -> HttpResponse:
    page = reads.jobs_page(projects, _moment(request.GET.get("before")), may_change=may_change)
    context = {"project": project, "page": page}
    return page_or_fragment(request, "jobs/list.html", "jobs/_list.html", context)


def _moment(text: str | None) -> datetime | None:
    try:
        found = parse_datetime(text or "")
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None


@require_safe
def drawer(request: HttpRequest) -> HttpResponse:
    """The short list beside every page. A page that was signed out is told to stop asking."""
    if not request.user.is_authenticated:
        return HttpResponse(status=STOP_POLLING)
    projects = Project.objects.for_user(person(request))
    page = reads.jobs_page(projects)
    context = {"open": page.open[:SHORT], "ended": page.ended[: SHORT - len(page.open[:SHORT])]}
    return render(request, "jobs/_drawer.html", context)


@login_required
@require_safe
def detail(request: HttpRequest, slug: str, uid: UUID) -> HttpResponse:
    """One job: how far it is, what failed and why, what can be done."""
    user = person(request)
    job = reads.job_for(user, slug, uid)
    may = reaches(role_of(user, job.project.workspace), Role.ANALYST)
    failed = Paginator(reads.failed_items(job), FAILED_PER_PAGE)
    context = {
        "project": job.project,
        "job": job,
        "entry": reads.job_entry(job, may),
        "page": failed.get_page(request.GET.get("page")),
        "retries": job.retries.all(),
    }
    return page_or_fragment(request, "jobs/detail.html", "jobs/_detail.html", context)


@login_required
@require_POST
def act(request: HttpRequest, slug: str, uid: UUID, action: str) -> HttpResponse:
    """Stop, retry or undo."""
    user = person(request)
    job = reads.job_for(user, slug, uid)
    if action not in ACTIONS:
        raise NotFound
    change, said = ACTIONS[action]
    after: Job = change(actor=user, job=job)
    messages.success(request, said)
    if action == "undo" and request.POST.get("next"):
        return redirect(_next(request, reverse("projects:jobs", args=[slug])))
    return redirect("projects:job", slug, after.uid)


@login_required
@require_POST
def act_on_import(request: HttpRequest, slug: str, pk: int, action: str) -> HttpResponse:
    """Stop reading a file, or read it again."""
    user = person(request)
    record = reads.import_for(user, slug, pk)
    if action not in IMPORT_ACTIONS:
        raise NotFound
    change, said = IMPORT_ACTIONS[action]
    change(actor=user, record=record)
    messages.success(request, said)
    return redirect("projects:dataset", slug, record.dataset.number)


@login_required
@require_POST
def start(request: HttpRequest, slug: str) -> HttpResponse:
    """Start a job over what was chosen; first say what it does, unless it can be undone."""
    user = person(request)
    project = selectors.project(user, slug)
    asked = JobRequest(request.POST)
    kind, wanted = changes.wanted_of(actor=user, project=project, **asked.wish)
    count = kind.count(wanted)
    phrase = kind.phrase(wanted)
    back = _next(request, reverse("projects:jobs", args=[slug]))
    if not asked.ready(kind, phrase) or not count:
        context = {
            "project": project,
            "asked": asked,
            "count": count,
            "title": kind.title(wanted, count),
            "says": kind.says(wanted, count) if count else [],
            "fields": kind.fields(wanted) if count else [],
            "phrase": phrase,
            "uid": asked.uid or uuid4(),
            "back": back,
            "danger": kind.undoable or bool(phrase),
        }
        return render(request, "jobs/confirm.html", context, status=422 if asked.confirmed else 200)
    job = changes.start_job(actor=user, project=project, uid=asked.uid, **asked.wish)
    if not job.undo_until:
        messages.success(request, f"Started: {job.title}.")
        return redirect("projects:job", slug, job.uid)
    undo = reverse("projects:job-act", args=[slug, job.uid, "undo"])
    messages.success(request, _past(job), extra_tags=f"undo {undo}")
    return redirect(back)


def _past(job: Job) -> str:
    return f"{job.title.replace('Delete', 'Deleted', 1)}."


def _next(request: HttpRequest, default: str) -> str:
    """The page to go back to, if it is one of ours."""
    asked = request.POST.get("next", "")
    ours = asked.startswith("/") and not asked.startswith(("//", "/\\"))
    return asked if ours else default


@login_required
@require_safe
def file(request: HttpRequest, slug: str, uid: UUID) -> FileResponse:
    """The file a job made. Whoever may not see the project any more gets nothing."""
    job = reads.job_for(person(request), slug, uid)
    opened, name, content_type = open_file(job)
    return FileResponse(opened, as_attachment=True, filename=name, content_type=content_type)
