"""What every supervisor does every few seconds: nothing that waits is forgotten."""

from __future__ import annotations

from django.conf import settings
from django.db import transaction

from core import q2, work
from core.models import WorkStatus
from projects.models import Import
from projects.services.imports import RUN_IMPORT, set_aside


def tick() -> None:
    """Take back imports whose worker is gone, and wake a worker for those that wait."""
    with transaction.atomic():
        for record in work.reap(Import.objects.all()):
            if record.status == WorkStatus.QUARANTINED:
                set_aside(record, record.error)
    for pk in Import.objects.filter(status=WorkStatus.PENDING).values_list("pk", flat=True)[:4]:
        if q2.waiting() < settings.WORKERS:
            q2.wake(RUN_IMPORT, pk)
