"""A question to a route, answered in the page: who answered, who was asked besides, who failed."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from accounts.models import Role, User, Workspace
from accounts.selectors import current_workspace, person
from accounts.services import require
from core.errors import AppError, NotFound
from core.htmx import wants_fragment
from providers.models import Purpose
from providers.runner import routed
from providers.runner.asking import MOST_CHARACTERS
from providers.selectors.routes import wants_vectors

PAGE, ANSWER = "providers/route_try.html", "providers/parts/routed.html"


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def try_route(request: HttpRequest, purpose: str) -> HttpResponse:
    """A box for a question and, once it was sent, the answer. Analysts and owners."""
    user = person(request)
    workspace = current_workspace(user)
    require(user, workspace, Role.ANALYST)
    if purpose not in Purpose.values or wants_vectors(purpose):
        raise NotFound
    context: dict[str, Any] = {"purpose": Purpose(purpose)}
    status = 200
    if request.method == "POST":
        text = request.POST.get("text", "")
        said, status = _asked(user, workspace, purpose, text)
        context |= {"text": text[:MOST_CHARACTERS], **said}
    fragment = request.method == "POST" and wants_fragment(request)
    # htmx shows no answer with the status of an error; who reads the fragment reads why.
    answer = render(
        request, ANSWER if fragment else PAGE, context, status=200 if fragment else status
    )
    answer.headers["Vary"] = "HX-Request"
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _asked(user: User, workspace: Workspace, purpose: str, text: str) -> tuple[dict[str, Any], int]:
    """What to show, and the status it is shown with."""
    try:
        found = routed.ask_route(user, workspace, purpose, text)
    except AppError as error:
        return {"wrong": error.text}, error.status
    if not found.problem:
        return {"found": found}, 200
    failure = routed.unanswered(found)
    return {"found": found, "wrong": failure.text}, failure.status
