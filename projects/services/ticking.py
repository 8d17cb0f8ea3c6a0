"""What every supervisor does every few seconds: nothing that waits is forgotten."""

from __future__ import annotations

import time

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from core import q2, work
from core.events import publish
from core.jobs import registry
from core.models import WorkStatus
from projects.events import JobEnded
from projects.models import Import, Job
from projects.services.imports import RUN_IMPORT, remove_unfinished, set_aside
from projects.services.jobs import RUN_JOB, end_if_waiting

SWEEP_EVERY = 60.0
"""Seconds between two looks at what became due by the passing of time."""

_swept = float("-inf")


def tick() -> None:
    """Take back imports and jobs whose worker is gone, wake workers for those that wait."""
    _take_back()
    _wake(RUN_IMPORT, list(_waiting(Import)))
    for job in Job.objects.filter(status=WorkStatus.PENDING, cancel_wanted=True):
        with transaction.atomic():
            end_if_waiting(job)
    _wake(RUN_JOB, list(_waiting(Job)))
    sweep()


def _take_back() -> None:
    with transaction.atomic():
        for record in work.reap(Import.objects.all()):
            if record.status == WorkStatus.QUARANTINED:
                set_aside(record, record.error)
        for job in work.reap(Job.objects.all()):
            if job.status == WorkStatus.QUARANTINED:
                Job.objects.filter(pk=job.pk).update(finished_at=Now())
                publish(job.topic, JobEnded(status=job.status, text=job.error[:300]))


def _waiting(model: type[Import] | type[Job]) -> list[int]:
    rows = model._default_manager.filter(status=WorkStatus.PENDING).order_by("pk")
    return list(rows.values_list("pk", flat=True)[:4])


def _wake(task: str, waiting: list[int]) -> None:
    for pk in waiting:
        if q2.waiting() < settings.WORKERS:
            q2.wake(task, pk)


def sweep(*, now: bool = False) -> None:
    """Once a minute: let every kind of job do what became due, such as emptying the trash."""
    global _swept
    if not now and time.monotonic() - _swept < SWEEP_EVERY:
        return
    _swept = time.monotonic()
    remove_unfinished()
    for kind in registry.kinds():
        kind.sweep()
