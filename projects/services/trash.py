"""The trash: deleted things stay for 30 days and come back whole."""

from __future__ import annotations

from typing import Any

from django.db import models, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from typing_extensions import override

from accounts.models import Role, User
from accounts.services import audit, require
from core.errors import NotFound
from core.jobs import registry
from projects.models import Conversation, Dataset, Job, Project
from projects.selectors.trash import TRASH_FOR, being_purged
from projects.services.kinds import Undoable


class Deleting(Undoable):
    """Base of the kinds that put things into the trash, all at once when the job is made.

    The moment of deletion is the job's own, so that undoing finds exactly what it deleted.
    """

    what = ""
    model: type[models.Model]
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

    def restore(self, project: Project, number: int) -> str:
        """Put one thing back, inside a transaction; returns its name."""
        rows = self.model._default_manager.filter(
            project=project, number=number, deleted_at__lte=Now()
        ).exclude(pk__in=being_purged(self.what))
        row = rows.first()
        if row is None:
            raise NotFound
        rows.update(deleted_at=None)
        return str(row)

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


def restore(*, actor: User, project: Project, what: str, number: int) -> str:
    """Put a thing back where it was; returns its name.

    ``number`` is the one of the data set or analysis; of deleted conversations it is the key of
    the job that deleted them. Raises ``NotFound`` for what does not lie in the trash.
    """
    require(actor, project.workspace, Role.ANALYST)
    kind = registry.kind(f"delete_{what}")
    if not isinstance(kind, Deleting):
        raise NotFound
    with transaction.atomic():
        Project.objects.select_for_update().get(pk=project.pk)
        name = kind.restore(project, number)
        audit(
            workspace=project.workspace,
            actor=actor,
            action="trash.restored",
            obj=project,
            what=what,
            number=number,
        )
    return name
