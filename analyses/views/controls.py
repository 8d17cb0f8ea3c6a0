"""What can be pressed on the live page. Everything works as a form; scripts ask for JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.decorators import login_required
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from accounts.models import Role
from accounts.selectors import person
from accounts.services import require
from analyses import services
from analyses.forms import LimitForm, ProvidersForm
from analyses.models import AnalysisSession
from analyses.selectors import batches, controls, notices, sessions, starting
from analyses.services.unblocking import choose_models, limit_spending
from analyses.views.live import TOLD, context_of, live_page
from core.errors import AppError, Conflict, Invalid, NotFound, problem
from core.forms import refuse, status_of

ACTIONS: dict[str, Callable[..., AnalysisSession]] = {
    "pause": services.pause,
    "resume": services.resume,
    "stop": services.cancel,
    "retry": services.retry_failed,
}
TOLD_FOR = 30 * 24 * 3600
"""Seconds for which a dismissed notice stays away."""


def _wants_json(request: HttpRequest) -> bool:
    return request.headers.get("Accept", "") == "application/json"


def _carried_out(
    request: HttpRequest, session: AnalysisSession, change: Callable[[], object]
) -> HttpResponse:
    """Do it and go back to the live page; a conflict says the state and what can be done."""
    try:
        change()
    except Conflict as error:
        session.refresh_from_db()
        return _conflict(request, session, error)
    if _wants_json(request):
        return JsonResponse({}, status=202)
    return redirect("analyses:live", slug=session.project.slug, number=session.number)


def _conflict(request: HttpRequest, session: AnalysisSession, error: AppError) -> HttpResponse:
    why = str(error.data.get("why", ""))
    text = f"{why} {controls.possible(session)}".strip()
    if _wants_json(request):
        return JsonResponse({**problem(error), "title": text}, status=error.status)
    refused = notices.Notice("", "info-circle", "That is not possible now.", text)
    return live_page(request, session, refused)


@login_required
def act(request: HttpRequest, slug: str, number: int, action: str) -> HttpResponse:
    """Pause, resume, stop or retry, by POST; a link to "stop" asks first."""
    user = person(request)
    session = sessions.session_for(user, slug, number)
    change = ACTIONS.get(action)
    if change is None:
        raise NotFound
    if request.method == "POST":
        try:
            only = _only(request, session) if action == "retry" else {}
            return _carried_out(
                request, session, lambda: change(actor=user, session=session, **only)
            )
        except Invalid as error:
            return _conflict(request, session, error)
    if action == "stop" and sessions.can_stop(session):
        return render(request, "analyses/stop.html", context_of(session, user, ("batches",)))
    return redirect("analyses:live", slug=slug, number=number)


def _only(request: HttpRequest, session: AnalysisSession) -> dict[str, list[int]]:
    """The conversations to which a form narrows a retry: those named, or all of one reason."""
    if "reason" in request.POST:
        return {"positions": batches.failed_places(session, request.POST["reason"])}
    named = request.POST.getlist("position")
    if any(not (one.isascii() and one.isdecimal() and len(one) < 10) for one in named):
        raise Invalid(fields={"positions": "There is no such conversation."})
    return {"positions": [int(one) for one in named]} if named else {}


@login_required
def limit(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """Set the most that may be spent; an analysis that waited for it goes on."""
    user = person(request)
    session = sessions.session_for(user, slug, number)
    require(user, session.project.workspace, Role.ANALYST)

    def change(given: dict[str, Any]) -> object:
        return limit_spending(actor=user, session=session, **given)

    form = LimitForm(request.POST or None, auto_id="limit-%s")
    return _asked(request, session, "limit", form, change)


@login_required
def providers(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """Choose who reads from now on."""
    user = person(request)
    session = sessions.session_for(user, slug, number)
    require(user, session.project.workspace, Role.ANALYST)

    def change(given: dict[str, Any]) -> object:
        chat = None if given["chat"] == starting.LOCAL else given["chat"]
        return choose_models(actor=user, session=session, **{**given, "chat": chat})

    form = ProvidersForm(session.project, request.POST or None, auto_id="providers-%s")
    return _asked(request, session, "providers", form, change)


def _asked(
    request: HttpRequest,
    session: AnalysisSession,
    name: str,
    form: Form,
    change: Callable[[dict[str, Any]], object],
) -> HttpResponse:
    """The page of a dialog, and what its form does."""
    if form.is_valid():
        try:
            return _carried_out(request, session, lambda: change(form.cleaned_data))
        except Invalid as error:
            refuse(form, error)
    if form.errors and _wants_json(request):
        fields = {key: " ".join(map(str, texts)) for key, texts in form.errors.items()}
        return JsonResponse(problem(Invalid(fields=fields)), status=422)
    context = context_of(session, person(request), ("dialogs",))
    if form.is_bound:
        context[f"{name}_form"] = form
    elif f"{name}_form" not in context:
        return redirect("analyses:live", slug=session.project.slug, number=session.number)
    page = f"analyses/{name}.html"
    return render(request, page, context, status=status_of(form))


@login_required
def recovery(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """What was kept, repeated and paid when a worker stopped."""
    session = sessions.session_for(person(request), slug, number)
    told = notices.recovery_of(session)
    if told is None:
        return redirect("analyses:live", slug=slug, number=number)
    context = {"session": session, "recovery": told}
    return render(request, "analyses/recovery.html", context)


@login_required
@require_POST
def dismiss(request: HttpRequest, slug: str, number: int) -> HttpResponseBase:
    """Put a notice away that only informs; remembered in this browser for this analysis."""
    session = sessions.session_for(person(request), slug, number)
    known = {one.told for one in notices.notices_of(session) if one.told}
    home = reverse("analyses:live", args=[slug, number])
    answer = redirect(home)
    told = request.POST.get("told", "")
    if told in known:
        before = [one for one in request.COOKIES.get(TOLD, "").split(".") if one in known]
        path = home.removesuffix("live/")
        answer.set_cookie(
            TOLD, ".".join({*before, told}), max_age=TOLD_FOR, path=path, samesite="Lax"
        )
    return answer
