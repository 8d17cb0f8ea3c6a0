"""Files that jobs make: below the data folder, for a week, under names of ours."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from django.conf import settings
from django.db.models.functions import Now

from core.errors import NotFound
from projects.models import Job
from projects.selectors.jobs import OPEN, has_file

KEPT_FOR = timedelta(days=7)
"""How long a file can be downloaded."""

PART = ".part"
"""How names of unfinished files end. They begin with the job's uid."""

TYPES = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "jsonl": "application/x-ndjson",
    "zip": "application/zip",
}


def folder() -> Path:
    """Where files of jobs lie."""
    found = Path(settings.MEDIA_ROOT) / "jobs"
    found.mkdir(parents=True, exist_ok=True)
    return found


def open_file(job: Job) -> tuple[BinaryIO, str, str]:
    """A job's file, the name it is offered under, and its type. Raises ``NotFound``."""
    path = Path(settings.MEDIA_ROOT) / job.file
    name = str(job.result.get("filename", path.name))
    if not has_file(job) or not path.is_file():
        raise NotFound
    return path.open("rb"), name, TYPES.get(path.suffix[1:], "application/octet-stream")


def remove_old() -> int:
    """Remove files whose week is over; returns how many."""
    old = Job.objects.filter(file_until__lt=Now()).exclude(file="")
    count = 0
    for job in old:
        (Path(settings.MEDIA_ROOT) / job.file).unlink(missing_ok=True)
        count += Job.objects.filter(pk=job.pk).update(file="", file_until=None)
    return count


def remove_left_over() -> int:
    """Remove unfinished files of jobs that ended; returns how many."""
    count = 0
    for part in folder().glob(f"*{PART}"):
        uid = part.name[:36]
        if not Job.objects.filter(uid=uid, status__in=OPEN).exists():
            part.unlink(missing_ok=True)
            count += 1
    return count
