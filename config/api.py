"""The JSON API: one root, a router for each app, one translator of errors."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.security import HttpBearer, SessionAuth
from typing_extensions import override

from accounts.models import User
from accounts.services import authenticate
from analyses.api import router as analyses
from core.errors import AppError, Invalid, NotFound, problem
from projects.api import router as projects
from providers.api import answers, limits, providers, routes
from templates_app.api import router as templates


class Session(SessionAuth):
    """The sign-in of the pages; changing calls need the CSRF token."""

    @override
    def authenticate(self, request: HttpRequest, key: str | None) -> User | None:
        """The signed-in person."""
        if "Authorization" in request.headers:  # a key that is wrong is no reason to try a cookie
            return None
        user = request.user
        return user if isinstance(user, User) and user.is_active else None


class Bearer(HttpBearer):
    """``Authorization: Bearer oc_…``: an API key."""

    @override
    def authenticate(self, request: HttpRequest, token: str) -> User | None:
        """The key's person, narrowed to the key's workspace and role."""
        found = authenticate(token)
        if found is None:
            return None
        user, key = found
        user.acting_key = key
        return user


api = NinjaAPI(
    title="OpenClio",
    version="1",
    description="Projects, data sets and analyses. Errors are problem details (RFC 9457).",
    auth=[Bearer(), Session()],
    urls_namespace="api",
)
api.add_router("/projects", projects)
api.add_router("/templates", templates)
api.add_router("/limits", limits)
api.add_router("/providers", providers)
api.add_router("/routes", routes)
api.add_router("/answers", answers)
api.add_router("", analyses)


def _answer(request: HttpRequest, error: AppError, **extra: Any) -> HttpResponse:
    body = {**problem(error), **extra}
    response = api.create_response(request, body, status=error.status)
    response["Content-Type"] = "application/problem+json"
    return response


@api.exception_handler(AppError)
def refused(request: HttpRequest, error: AppError) -> HttpResponse:
    """What the product refuses."""
    return _answer(request, error)


@api.exception_handler(Http404)
def missing(request: HttpRequest, error: Http404) -> HttpResponse:
    """Nothing there."""
    return _answer(request, NotFound())


@api.exception_handler(ValidationError)
def malformed(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """A body or query of the wrong shape."""
    fields = {".".join(str(part) for part in item["loc"][1:]): item["msg"] for item in error.errors}
    return _answer(request, Invalid(fields=fields))


REFUSALS = {400: "invalid", 403: "forbidden", 404: "not_found"}


@api.exception_handler(HttpError)
def unusual(request: HttpRequest, error: HttpError) -> HttpResponse:
    """What the framework itself refuses: a body that is no JSON, a missing CSRF token."""
    code = REFUSALS.get(error.status_code, "invalid")
    return _answer(request, AppError(code, status=error.status_code, why=f"{error.message}."))


@api.exception_handler(AuthenticationError)
def unknown(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    """Nobody signed in, and no valid key."""
    return _answer(request, AppError("unauthorized", status=401))
