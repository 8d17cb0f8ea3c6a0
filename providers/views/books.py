"""Books and bills: what was used and paid by day and model, and whether the sums agree."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from accounts.models import Role, Workspace
from accounts.selectors import current_workspace, person
from accounts.services import require
from providers.selectors.reconciling import Report, Sums, by_model, report

DAYS = 31
LONGEST = 366
COLUMNS = (
    "calls",
    "tokens_in",
    "tokens_cached",
    "tokens_out",
    "tokens_reasoning",
    "settled",
    "unpriced",
    "batched",
    "doubts",
    "in_doubt",
)


@login_required
@require_safe
def books(request: HttpRequest) -> HttpResponse:
    """The report of a time, a month by default. Owners only."""
    workspace = _workspace(request)
    found = _report(request, workspace)
    lines = sorted(by_model(found.lines).items(), key=lambda one: -one[1].settled)
    context: dict[str, Any] = {"report": found, "lines": lines, "most": LONGEST}
    return render(request, "providers/books.html", context)


@login_required
@require_safe
def books_csv(request: HttpRequest) -> StreamingHttpResponse:
    """The same by day, provider, model and purpose, as CSV. Owners only."""
    workspace = _workspace(request)
    found = _report(request, workspace)
    name = f"books-{found.since}-{found.until}.csv"
    return StreamingHttpResponse(
        rows_of(found),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _workspace(request: HttpRequest) -> Workspace:
    user = person(request)
    workspace = current_workspace(user)
    require(user, workspace, Role.OWNER)
    return workspace


def _report(request: HttpRequest, workspace: Workspace) -> Report:
    until = day_of(request.GET.get("until", "")) or timezone.now().date()
    since = day_of(request.GET.get("since", "")) or until - timedelta(days=DAYS - 1)
    since = min(max(since, until - timedelta(days=LONGEST - 1)), until)
    return report(workspace, since, until)


def day_of(text: str) -> date | None:
    """A day of an address, ``None`` for anything else."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if 2000 <= day.year <= 2200 else None


class _Line:
    """Gives a written line back instead of keeping it."""

    def write(self, text: str) -> str:
        """The line."""
        return text


def rows_of(found: Report) -> Iterator[str]:
    """The lines of the file, its head first."""
    writer = csv.writer(_Line())
    yield writer.writerow(["day", "provider", "model", "purpose", *COLUMNS])
    for line in found.lines:
        names = [safe(text) for text in (line.provider, line.model, line.purpose)]
        yield writer.writerow([line.day.isoformat(), *names, *amounts(line.sums)])


def amounts(sums: Sums) -> list[str]:
    """The figures of a line, amounts as plain decimals."""
    values = (getattr(sums, name) for name in COLUMNS)
    return [f"{value:f}" if hasattr(value, "as_tuple") else str(value) for value in values]


def safe(text: str) -> str:
    """A name that no spreadsheet takes for a formula (OWASP, "CSV Injection")."""
    return f"'{text}" if text[:1] in "=+-@\t\r" else text
