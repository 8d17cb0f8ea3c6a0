"""Starting, stopping, repeating and taking back jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import Role, User
from accounts.services import audit, require
from core import q2, work
from core.bulk import insert_rows
from core.errors import Conflict, Invalid
from core.events import publish
from core.ids import uuid7
from core.models import WorkStatus
from projects.events import JobEnded
from projects.models import ItemState, Job, JobItem, Project
from projects.selectors.jobs import ENDED, OPEN, may_undo
from projects.services.kinds import Kind, Undoable, Wanted, kind_of, settings_of

RUN_JOB = "projects.tasks.run_job"

MOST_IDS = 10_000
"""Items that may be named one by one; more are meant by a filter."""

FREEZE = 2000
"""Items frozen with one statement."""


def wanted_of(
    *,
    actor: User,
    project: Project,
    kind: str,
    settings: Mapping[str, Any] | None = None,
    ids: Sequence[int] | None = None,
    matching: Mapping[str, str] | None = None,
) -> tuple[Kind, Wanted]:
    """What a job would be about. ``ids`` or, without them, everything that is ``matching``.

    Raises ``Forbidden`` below the role the kind needs, ``Invalid`` for bad settings.
    """
    found = kind_of(kind)
    require(actor, project.workspace, found.role)
    if ids is None and matching is None:
        raise Invalid(fields={"ids": "Name the items, or a filter that they match."})
    if ids is not None and len(ids) > MOST_IDS:
        raise Invalid(fields={"ids": f"Name at most {MOST_IDS:,}, or use a filter."})
    return found, Wanted(
        project=project,
        settings=settings_of(found, settings or {}),
        ids=None if ids is None else tuple(dict.fromkeys(ids)),
        filter=dict(matching or {}),
    )


def start_job(
    *,
    actor: User,
    project: Project,
    kind: str,
    settings: Mapping[str, Any] | None = None,
    ids: Sequence[int] | None = None,
    matching: Mapping[str, str] | None = None,
    uid: UUID | None = None,
    wake: bool = True,
) -> Job:
    """Freeze a selection into the items of a new job and queue it.

    A ``uid`` that a form was made with starts one job, however often the form is sent. Raises
    ``Forbidden``, ``Invalid`` for bad settings and for a selection that is empty.
    """
    found, wanted = wanted_of(
        actor=actor, project=project, kind=kind, settings=settings, ids=ids, matching=matching
    )
    params = {
        "settings": wanted.settings.model_dump(mode="json"),
        "filter": dict(wanted.filter),
        "named": None if ids is None else len(wanted.ids or ()),
    }
    with transaction.atomic():
        Project.objects.select_for_update().get(pk=project.pk)
        before = Job.objects.filter(uid=uid).first() if uid else None
        if before is not None and _same(before, actor, project, kind):
            return before
        job = _make(found, project, params, uid=None if before else uid, created_by=actor)
        _freeze(job, found.select(wanted))
        _ready(found, job, wanted, wake=wake)
    return job


def start_own(kind: str, project: Project, settings: Mapping[str, Any], refs: list[int]) -> Job:
    """A job of the product itself, over primary keys that it chose."""
    found = kind_of(kind)
    with transaction.atomic():
        given = settings_of(found, settings)
        params = {"settings": given.model_dump(mode="json"), "filter": {}, "named": len(refs)}
        job = _make(found, project, params)
        _freeze(job, ((ref, "") for ref in refs))
        _ready(found, job, Wanted(project, given), wake=True)
    return job


def _same(job: Job, actor: User, project: Project, kind: str) -> bool:
    return (job.created_by_id, job.project_id, job.kind) == (actor.pk, project.pk, kind)


def _make(
    kind: Kind,
    project: Project,
    params: Mapping[str, Any],
    *,
    uid: UUID | None = None,
    created_by: User | None = None,
    retry_of: Job | None = None,
) -> Job:
    return Job.objects.create(
        uid=uid or uuid7(),
        project=project,
        kind=kind.key,
        title=kind.key,
        params=params,
        created_by=created_by,
        retry_of=retry_of,
    )


def _freeze(job: Job, refs: QuerySet[Any, Any] | Iterable[tuple[int, str]]) -> None:
    rows = iter(refs.iterator(FREEZE) if isinstance(refs, QuerySet) else refs)
    while some := list(islice(rows, FREEZE)):
        insert_rows(
            JobItem,
            ("job_id", "ref", "label", "state", "error"),
            [(job.pk, ref, label[:200], ItemState.WAITING.value, "") for ref, label in some],
        )


def _ready(kind: Kind, job: Job, wanted: Wanted, *, wake: bool) -> None:
    """Count, name, begin, write down and queue a job whose items are frozen."""
    job.total = job.items.count()
    if not job.total:
        raise Invalid("Nothing matches: there is nothing to do.")
    job.title = kind.title(wanted, job.total)[:200]
    job.save(update_fields=["total", "title"])
    kind.begin(job)
    audit(
        workspace=job.project.workspace,
        actor=job.created_by,
        action=f"job.{job.kind}",
        obj=job,
        items=job.total,
    )
    if wake:
        q2.wake(RUN_JOB, job.pk)


def retry_failed(*, actor: User, job: Job, wake: bool = True) -> Job:
    """A new job over the failed items of one that ended. Raises ``Conflict`` without any."""
    kind = kind_of(job.kind)
    _require(actor, job, kind)
    with transaction.atomic():
        row = Job.objects.select_for_update().select_related("project").get(pk=job.pk)
        again = row.retries.first()
        if again is not None:
            return again
        if row.status in OPEN:
            raise Conflict(why="The job is still at work.")
        left = (ItemState.FAILED, ItemState.WAITING)
        refs = row.items.filter(state__in=left).order_by("pk").values_list("ref", "label")
        if row.undone_at is not None or not refs.exists():
            raise Conflict(why="Nothing of this job failed.")
        made = _make(kind, row.project, row.params, created_by=actor, retry_of=row)
        _freeze(made, refs)
        given = settings_of(kind, row.params.get("settings", {}))
        _ready(kind, made, Wanted(row.project, given), wake=wake)
    return made


def _require(actor: User, job: Job, kind: Kind) -> None:
    """People change their own jobs with the role it took to start them, others as analysts."""
    mine = job.created_by_id == actor.pk
    needed = kind.role if mine or kind.role != Role.VIEWER else Role.ANALYST
    require(actor, job.project.workspace, needed)


def cancel_job(*, actor: User, job: Job) -> Job:
    """Stop a job: at once when it waits, else before its next chunk. What is done stays done."""
    kind = kind_of(job.kind)
    _require(actor, job, kind)
    with transaction.atomic():
        row = Job.objects.select_for_update().select_related("project").get(pk=job.pk)
        if row.status in ENDED:
            raise Conflict(why=f"The job is already {row.get_status_display().lower()}.")
        if not kind.stoppable:
            raise Conflict(why="This cannot be stopped half-way. Undo it instead.")
        row.cancel_wanted = True
        row.save(update_fields=["cancel_wanted"])
        end_if_waiting(row)
        audit(workspace=row.project.workspace, actor=actor, action="job.stopped", obj=row)
    return row


def end_if_waiting(job: Job) -> None:
    """Stop a locked job that nobody holds."""
    rows = Job.objects.filter(pk=job.pk)
    if work.shift(rows, WorkStatus.PENDING, WorkStatus.CANCELLED, finished_at=Now()):
        job.refresh_from_db()
        publish(job.topic, JobEnded(status=job.status, text="Stopped."))


def undo_job(*, actor: User, job: Job) -> Job:
    """Take back what a job did, while that is possible. Doing it twice changes nothing."""
    kind = kind_of(job.kind)
    _require(actor, job, kind)
    with transaction.atomic():
        row = Job.objects.select_for_update().select_related("project").get(pk=job.pk)
        if row.undone_at is not None:
            return row
        if not (isinstance(kind, Undoable) and may_undo(row)):
            raise Conflict(why="This can no longer be undone.")
        back = kind.undo(row)
        row.undone_at = timezone.now()
        row.cancel_wanted = True
        row.result = {**row.result, "restored": back}
        row.save(update_fields=["undone_at", "cancel_wanted", "result"])
        end_if_waiting(row)
        publish(row.topic, JobEnded(status=row.status, text="Undone."))
        audit(
            workspace=row.project.workspace, actor=actor, action="job.undone", obj=row, items=back
        )
    return row
