"""The trash: deleted things stay for 30 days and come back whole."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import models
from django.db.models import QuerySet
from django.utils import timezone
from typing_extensions import override

from projects.models import Conversation, Dataset, Job, JobKind
from projects.services.kinds import Kind

TRASH_FOR = timedelta(days=30)
"""How long deleted things can be restored."""


def expired() -> Any:
    """The moment before which the trash is emptied."""
    return timezone.now() - TRASH_FOR


def being_purged(what: str) -> QuerySet[Any, Any]:
    """Primary keys of things of a sort that are deleted for good, now or already."""
    jobs = Job.objects.filter(kind=JobKind.PURGE, params__settings__what=what)
    return jobs.values("items__ref")


class Deleting(Kind):
    """Base of the kinds that put things into the trash, all at once when the job is made.

    The moment of deletion is the job's own, so that undoing finds exactly what it deleted.
    """

    what = ""
    model: type[models.Model]
    undoable = True
    stoppable = False

    @override
    def begin(self, job: Job) -> None:
        """Everything selected disappears with the commit."""
        self._rows(job).filter(deleted_at=None).update(deleted_at=job.created_at)
        job.undo_until = job.created_at + TRASH_FOR
        job.save(update_fields=["undo_until"])

    @override
    def undo(self, job: Job) -> int:
        """What this job deleted, and what is not deleted for good, comes back."""
        rows = self._rows(job).filter(deleted_at=job.created_at)
        return rows.exclude(pk__in=being_purged(self.what)).update(deleted_at=None)

    def _rows(self, job: Job) -> QuerySet[Any, Any]:
        return self.model._default_manager.filter(pk__in=job.items.order_by().values("ref"))


def recount(dataset: Dataset) -> None:
    """The data set's figures from its rows that are not deleted, inside a transaction."""
    rows: QuerySet[Conversation, Any] = dataset.conversations.filter(deleted_at=None)
    sums = rows.aggregate(
        conversations=models.Count("pk"),
        messages=models.Sum("message_count"),
        tokens=models.Sum("token_count"),
        first=models.Min("started_at"),
        last=models.Max("ended_at"),
        users=models.Count("end_user", distinct=True, filter=~models.Q(end_user="")),
    )
    dataset.conversation_count = sums["conversations"]
    dataset.message_count = sums["messages"] or 0
    dataset.token_count = sums["tokens"] or 0
    dataset.first_at, dataset.last_at = sums["first"], sums["last"]
    dataset.user_count = sums["users"]
    languages = rows.exclude(language="").values_list("language").annotate(n=models.Count("pk"))
    dataset.languages = dict(languages.order_by("-n", "language"))
    dataset.save(
        update_fields=[
            "conversation_count",
            "message_count",
            "token_count",
            "first_at",
            "last_at",
            "user_count",
            "languages",
        ]
    )
