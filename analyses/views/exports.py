"""Results to take away."""

from __future__ import annotations

from typing import TypeVar

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from accounts.selectors import person
from analyses import export
from analyses.selectors import sessions

Response = TypeVar("Response", bound=HttpResponseBase)


@login_required
def clusters(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """The clusters that may be shown, as JSON."""
    session = sessions.session_for(person(request), slug, number)
    name = f"{slug}-{number}-clusters.json"
    body = export.as_text(export.clusters_json(session))
    return _named(HttpResponse(body, content_type="application/json"), name)


@login_required
def conversations(request: HttpRequest, slug: str, number: int) -> StreamingHttpResponse:
    """One row for every conversation read, as CSV."""
    session = sessions.session_for(person(request), slug, number)
    name = f"{slug}-{number}-conversations.csv"
    rows = export.conversations_csv(session)
    return _named(StreamingHttpResponse(rows, content_type="text/csv; charset=utf-8"), name)


def _named(response: Response, name: str) -> Response:
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
