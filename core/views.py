"""Health, for process managers and load balancers."""

from datetime import timedelta

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

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
    except DatabaseError:
        pass
    good = all(parts.values())
    return JsonResponse(
        {"status": "ready" if good else "not ready", **parts}, status=200 if good else 503
    )
