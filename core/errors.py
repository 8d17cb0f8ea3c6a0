"""Errors a person may see: one class of exception, one table of words, one translator per door."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

TEXTS: dict[str, str] = {
    "not_found": "There is nothing at this address, or you may not see it.",
    "unauthorized": "Sign in, or send an API key as a bearer token.",
    "forbidden": "Your role does not allow this. Ask an owner of the workspace.",
    "conflict": "This is not possible now. {why}",
    "invalid": "Please check what you entered. {why}",
    "too_large": "The file is larger than {limit}. Split it or compress it with gzip.",
    "empty_file": "The file is empty. Nothing was imported.",
    "broken": "Something went wrong on our side. What was saved is still saved.",
    "plain": "{why}",
    "unreadable": "The file could not be read. {why}",
    "unknown_format": "We could not recognise this file. {why}",
    "provider_unreachable": "The provider could not be reached. {why}",
    "unanswered": "No model of this route answered. {why}",
    "disk_full": (
        "The server's disk is almost full, so nothing more is taken. Nothing was changed, and what "
        "was saved before is safe. Ask an operator to make room, then try again."
    ),
    "unavailable": (
        "The database does not answer just now. What was saved is safe, and analyses go on by "
        "themselves when it is back. Try again in a moment."
    ),
    "upgrade": (
        "OpenClio needs an upgrade: its program and its database are of different versions. What "
        "was saved is safe. An operator has to run the setup of the newer version."
    ),
    "rate_limited": "Too many requests. Try again in {seconds} seconds.",
}
"""Wording by code. ``{why}`` and friends come from the error's data."""


class AppError(Exception):
    """Something the product refuses, with a stable ``code`` and an HTTP ``status``."""

    code = "conflict"
    status = 409
    retryable = False

    def __init__(
        self,
        code: str = "",
        *,
        status: int | None = None,
        retryable: bool | None = None,
        **data: Any,
    ) -> None:
        self.code = code or self.code
        self.status = status or self.status
        self.retryable = self.retryable if retryable is None else retryable
        self.data = data
        super().__init__(self.text)

    @property
    def text(self) -> str:
        """The sentence shown to people."""
        template = TEXTS.get(self.code, TEXTS["conflict"])
        said = template.format_map(_Blank(self.data)).strip()
        return said or TEXTS["conflict"].format_map(_Blank()).strip()


class _Blank(dict[str, Any]):
    """Leaves out what the error did not say."""

    def __missing__(self, key: str) -> str:
        return ""


class NotFound(AppError):
    """No such thing, or not for this person: the two are never told apart."""

    code, status = "not_found", 404


class Forbidden(AppError):
    """The person may see it but not do this."""

    code, status = "forbidden", 403


class Conflict(AppError):
    """The state does not allow it; ``why`` says which state."""

    code, status = "conflict", 409


class Invalid(AppError):
    """Wrong input; ``fields`` maps field names to sentences."""

    code, status = "invalid", 422

    def __init__(self, why: str = "", *, fields: dict[str, str] | None = None, **data: Any) -> None:
        self.fields = fields or {}
        super().__init__(why=why or " ".join(self.fields.values()), **data)


def user_text(error: BaseException) -> str:
    """The sentence for any exception; unknown ones reveal nothing."""
    return error.text if isinstance(error, AppError) else "Something went wrong on our side."


def problem(error: AppError) -> dict[str, Any]:
    """The error as problem details (RFC 9457)."""
    body: dict[str, Any] = {
        "type": f"urn:openclio:{error.code}",
        "title": error.text,
        "status": error.status,
        "code": error.code,
        "retryable": error.retryable,
    }
    if isinstance(error, Invalid) and error.fields:
        body["fields"] = error.fields
    if "state" in error.data:  # ``status`` is the answer's own number
        body["state"] = error.data["state"]
    return body


class AppErrorMiddleware:
    """Turns an :class:`AppError` that left a view into a page."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer with the error page; everything else is left to Django."""
        if not isinstance(error, AppError):
            return None
        context = {"error": error, "text": error.text}
        return render(request, "errors/app_error.html", context, status=error.status)
