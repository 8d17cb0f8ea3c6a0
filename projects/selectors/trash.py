"""What lies in the trash of a project."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from core.figures import count_of
from core.jobs import registry
from projects.models import Job, JobKind, Project

TRASH_FOR = timedelta(days=30)
"""How long deleted things can be restored."""


def expired() -> Any:
    """The moment before which the trash is emptied."""
    return timezone.now() - TRASH_FOR


def being_purged(what: str) -> QuerySet[Any, Any]:
    """Primary keys of things of a sort that are deleted for good, now or already."""
    jobs = Job.objects.filter(kind=JobKind.PURGE, params__settings__what=what)
    return jobs.values("items__ref")


@dataclass(frozen=True, slots=True)
class Thing:
    """Something deleted. ``what`` and ``number`` name it to the services."""

    what: str
    number: int
    name: str
    sort: str
    text: str
    at: datetime
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def until(self) -> datetime:
        """When it goes for good."""
        return self.at + TRASH_FOR


def things(project: Project) -> list[Thing]:
    """Data sets, conversations and what other apps add, newest first."""
    found = [*_datasets(project), *_conversations(project)]
    for source in registry.trash():
        found.extend(source(project))
    return sorted(found, key=lambda thing: thing.at, reverse=True)


def _datasets(project: Project) -> list[Thing]:
    rows = project.datasets.filter(deleted_at__isnull=False)
    return [
        Thing(
            "datasets",
            row.number,
            row.name,
            "Data set",
            count_of(row.conversation_count, "conversation"),
            row.deleted_at,
        )
        for row in rows.exclude(pk__in=being_purged("datasets"))
        if row.deleted_at
    ]


def _conversations(project: Project) -> list[Thing]:
    jobs = Job.objects.filter(
        project=project,
        kind=JobKind.DELETE_CONVERSATIONS,
        undone_at=None,
        undo_until__isnull=False,
    )
    return [
        Thing(
            "conversations",
            job.pk,
            count_of(job.total, "conversation"),
            "Conversations",
            f"Deleted by {job.created_by}" if job.created_by else "",
            job.created_at,
            (("s.job", str(job.pk)),),
        )
        for job in jobs
    ]
