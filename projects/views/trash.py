"""The trash of a project."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from accounts.models import Role
from accounts.selectors import person
from accounts.services import reaches, role_of
from projects import selectors
from projects.selectors import trash as reads
from projects.services.trash import restore as put_back

PER_PAGE = 50


@login_required
@require_safe
def listing(request: HttpRequest, slug: str) -> HttpResponse:
    """What was deleted in the last 30 days."""
    user = person(request)
    project = selectors.project(user, slug)
    role = role_of(user, project.workspace)
    rows = Paginator(reads.things(project), PER_PAGE)
    context = {
        "project": project,
        "page": rows.get_page(request.GET.get("page")),
        "may_restore": reaches(role, Role.ANALYST),
        "may_purge": reaches(role, Role.OWNER),
    }
    return render(request, "jobs/trash.html", context)


@login_required
@require_POST
def restore(request: HttpRequest, slug: str) -> HttpResponse:
    """Put something back where it was."""
    user = person(request)
    project = selectors.project(user, slug)
    number = request.POST.get("number", "")
    name = put_back(
        actor=user,
        project=project,
        what=request.POST.get("what", ""),
        number=int(number) if number.isdecimal() and len(number) < 18 else 0,
    )
    messages.success(request, f"Restored: {name}.")
    return redirect("projects:trash", slug)
