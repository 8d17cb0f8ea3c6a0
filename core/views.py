"""Health, for process managers and load balancers, and the page for what nobody caught."""

import sys
from datetime import timedelta

from django.db import DatabaseError, Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils import timezone
from django.views.decorators.http import require_safe

from core import database, disks
from core.errors import AppError, problem
from core.models import Beat
from core.tasks import CANARY_PREFIX

# The supervisor sends a canary every few seconds and replaces a silent pool after fifteen.
CANARY_AGE = timedelta(seconds=60)


@require_safe
def live(_request: HttpRequest) -> JsonResponse:
    """The web process answers. Touches nothing else."""
    return JsonResponse({"status": "live"})


@require_safe
def ready(_request: HttpRequest) -> JsonResponse:
    """The database answers and is migrated, and worker processes take tasks; else 503."""
    parts = {"database": False, "migrated": False, "workers": False}
    try:
        executor = MigrationExecutor(connection)
        parts["database"] = True
        parts["migrated"] = not executor.migration_plan(executor.loader.graph.leaf_nodes())
        parts["workers"] = Beat.objects.filter(
            name__startswith=CANARY_PREFIX, beat_at__gte=timezone.now() - CANARY_AGE
        ).exists()
    except Error:
        pass
    good = all(parts.values())
    return JsonResponse(
        {"status": "ready" if good else "not ready", **parts}, status=200 if good else 503
    )


# Seconds after which a page that could not be made asks again.
TRY_AGAIN = 10

TITLES = {
    "unavailable": "The database is away for a moment",
    "disk_full": "The server's disk is almost full",
    "upgrade": "OpenClio is being upgraded",
}


def broken(request: HttpRequest) -> HttpResponse:
    """Answer for an exception that nothing else handled.

    Says 503 with what is safe while the database is away or of another version, 507 while the
    disk is full, else 500. Reads no row: there may be no database to read from.
    """
    error = _known(sys.exc_info()[1])
    if request.path_info.startswith("/api/"):
        answer: HttpResponse = JsonResponse(
            problem(error), status=error.status, content_type="application/problem+json"
        )
    elif error.code in TITLES:
        context = {"title": TITLES[error.code], "error": error}
        answer = HttpResponse(render_to_string("errors/503.html", context), status=error.status)
    else:
        return HttpResponse(render_to_string("500.html"), status=500)
    if error.retryable:
        answer["Retry-After"] = str(TRY_AGAIN)
        if request.method in ("GET", "HEAD"):
            answer["Refresh"] = str(TRY_AGAIN)
    return answer


def _known(error: BaseException | None) -> AppError:
    """What a person is told about an exception."""
    if disks.is_full(error) or database.is_disk_full(error):
        return AppError("disk_full", status=507, retryable=True)
    if database.passes(error):
        return AppError("unavailable", status=503, retryable=True)
    if isinstance(error, DatabaseError) and database.needs_upgrade(error):
        return AppError("upgrade", status=503, retryable=True)
    return AppError("broken", status=500)
