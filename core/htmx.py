"""Answering a page and its htmx fragment from one view."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django_htmx.middleware import HtmxDetails

STOP_POLLING = 286
"""Status that tells htmx to end ``hx-trigger="every …"`` (https://htmx.org/docs/#polling)."""


def wants_fragment(request: HttpRequest) -> bool:
    """Whether htmx asks for a part; restoring history and boosted links need whole pages."""
    htmx: HtmxDetails = request.htmx  # type: ignore[attr-defined]
    return bool(htmx) and not htmx.boosted and not htmx.history_restore_request


def page_or_fragment(
    request: HttpRequest, page: str, fragment: str, context: dict[str, Any]
) -> HttpResponse:
    """Render ``fragment`` for htmx, else ``page``, which includes that very fragment."""
    response = render(request, fragment if wants_fragment(request) else page, context)
    response.headers["Vary"] = "HX-Request"
    return response
