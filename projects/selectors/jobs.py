"""What is in work and what ended: jobs, imports and what other apps tell of, in one list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from core.errors import NotFound
from core.figures import count_of
from core.jobs import registry
from core.models import WorkStatus
from projects.models import Import, ItemState, Job, Project

PER_PAGE = 25
LISTED_OPEN = 50
"""Work under way that one page lists; more is counted."""

PARTIAL = "completed_partial"
OPEN = (WorkStatus.PENDING, WorkStatus.LEASED)
ENDED = (WorkStatus.DONE, WorkStatus.QUARANTINED, WorkStatus.CANCELLED)


@dataclass(frozen=True, slots=True)
class Action:
    """A button of an entry: a form that posts to ``href``, or a link when ``get``."""

    name: str
    icon: str
    href: str
    get: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the list: an analysis, an import or a job."""

    key: str
    name: str
    href: str
    project: str
    sort: str
    at: datetime
    state: str
    state_text: str
    text: str = ""
    who: str = ""
    percent: float | None = None
    actions: list[Action] = field(default_factory=list)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class JobsPage:
    """What the page of jobs shows. ``before`` continues with older ones."""

    open: list[Entry]
    ended: list[Entry]
    before: str


def jobs_page(
    projects: QuerySet[Project], before: datetime | None = None, *, may_change: bool = False
) -> JobsPage:
    """What is in work in these projects, and what ended, newest first. About eight queries."""
    ended = _ended(projects, before, may_change)
    more = len(ended) > PER_PAGE
    ended = ended[:PER_PAGE]
    return JobsPage(
        open=in_work(projects, may_change=may_change) if before is None else [],
        ended=ended,
        before=ended[-1].at.isoformat() if more else "",
    )


def in_work(
    projects: QuerySet[Project], *, may_change: bool = False, limit: int = LISTED_OPEN
) -> list[Entry]:
    """Everything under way, newest first."""
    found = [entry for source in registry.sources() for entry in source(projects)[:limit]]
    found += [job_entry(row, may_change) for row in _jobs(projects).filter(status__in=OPEN)[:limit]]
    reading = _imports(projects).filter(status__in=OPEN)
    found += [import_entry(row, may_change) for row in reading[:limit]]
    return _newest(found)[:limit]


def _ended(projects: QuerySet[Project], before: datetime | None, may_change: bool) -> list[Entry]:
    jobs = _jobs(projects).filter(status__in=ENDED)
    imports = _imports(projects).filter(status__in=ENDED)
    if before is not None:
        jobs, imports = jobs.filter(created_at__lt=before), imports.filter(created_at__lt=before)
    found = [job_entry(row, may_change) for row in jobs[: PER_PAGE + 1]]
    found += [import_entry(row, may_change) for row in imports[: PER_PAGE + 1]]
    return _newest(found)[: PER_PAGE + 1]


def _newest(entries: Iterable[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: entry.at, reverse=True)


def _jobs(projects: QuerySet[Project]) -> QuerySet[Job]:
    return (
        Job.objects.filter(project__in=projects)
        .select_related("project", "created_by")
        .order_by("-created_at")
    )


def _imports(projects: QuerySet[Project]) -> QuerySet[Import]:
    return (
        Import.objects.filter(dataset__project__in=projects, dataset__deleted_at=None)
        .select_related("dataset__project", "dataset__created_by")
        .order_by("-created_at")
    )


def job_for(user: User, slug: str, uid: UUID) -> Job:
    """A job by its address; :class:`NotFound` for strangers. One query."""
    rows = Job.objects.filter(project__in=Project.objects.for_user(user), project__slug=slug)
    found = rows.select_related("project__workspace", "created_by", "retry_of").filter(uid=uid)
    job = found.first()
    if job is None:
        raise NotFound
    return job


def import_for(user: User, slug: str, pk: int) -> Import:
    """An import by its number; :class:`NotFound` for strangers. One query."""
    rows = _imports(Project.objects.for_user(user)).filter(dataset__project__slug=slug, pk=pk)
    record = rows.select_related("dataset__project__workspace").first()
    if record is None:
        raise NotFound
    return record


def failed_items(job: Job) -> QuerySet[Any]:
    """The items of a job that failed, with their reasons."""
    return job.items.filter(state=ItemState.FAILED).order_by("pk")


def job_state(job: Job) -> tuple[str, str]:
    """The key of a job's state and its word. What failed in part is never called complete."""
    if job.undone_at is not None:
        return "cancelled", "Undone"
    if job.status == WorkStatus.DONE:
        return (PARTIAL, "Complete in part") if job.failed else ("done", "Complete")
    if job.cancel_wanted and job.status == WorkStatus.LEASED:
        return "cancelling", "Stopping"
    return str(job.status), job.get_status_display()


def job_entry(job: Job, may_change: bool) -> Entry:
    """A job as a line of the list."""
    state, word = job_state(job)
    through = job.done + job.failed + job.skipped
    open_yet = job.status in OPEN
    return Entry(
        key=str(job.uid),
        name=job.title,
        href=reverse("projects:job", args=[job.project.slug, job.uid]),
        project=job.project.name,
        sort=job.get_kind_display(),
        at=job.created_at,
        state=state,
        state_text=word,
        text=counts(job),
        who=str(job.created_by) if job.created_by else "OpenClio",
        percent=100 * through / job.total if open_yet and job.total else None,
        actions=job_actions(job, may_change),
        reason=job.error if job.status == WorkStatus.QUARANTINED else "",
    )


def counts(job: Job) -> str:
    """How many items are through, in words."""
    parts = [f"{job.done:,} of {job.total:,}"]
    if job.failed:
        parts.append(f"{job.failed:,} failed")
    if job.skipped:
        parts.append(f"{job.skipped:,} left out")
    return " · ".join(parts)


def job_actions(job: Job, may_change: bool) -> list[Action]:
    """What can be done with a job now, by somebody who may change things or not."""
    slug, kind = job.project.slug, _kind(job)
    may = may_change or kind.role == "viewer"
    found = []

    def add(name: str, icon: str, action: str) -> None:
        found.append(Action(name, icon, reverse("projects:job-act", args=[slug, job.uid, action])))

    if has_file(job):
        href = reverse("projects:job-file", args=[slug, job.uid])
        found.append(Action("Download", "download", href, get=True))
    if may and job.status in OPEN and kind.stoppable and not job.cancel_wanted:
        add("Stop", "square", "cancel")
    if may and job.status in ENDED and can_retry(job):
        add("Retry what failed" if job.failed else "Do the rest", "refresh", "retry")
    if may and may_undo(job):
        add("Undo", "arrow-left", "undo")
    return found


def _kind(job: Job) -> Any:
    """Who does such jobs; raises ``NotFound`` when nobody does any more."""
    found = registry.kind(job.kind)
    if found is None:
        raise NotFound
    return found


def can_retry(job: Job) -> bool:
    """Whether something of an ended job can be tried again."""
    unfinished = job.total - job.done - job.skipped
    return job.undone_at is None and unfinished > 0 and not job.retries.exists()


def may_undo(job: Job) -> bool:
    """Whether taking back is possible now."""
    open_yet = job.undo_until is not None and job.undo_until > timezone.now()
    return open_yet and job.undone_at is None and bool(_kind(job).undoable)


def has_file(job: Job) -> bool:
    """Whether there is a file to download."""
    return bool(job.file) and job.status == WorkStatus.DONE


def import_entry(record: Import, may_change: bool) -> Entry:
    """An import as a line of the list."""
    dataset = record.dataset
    slug = dataset.project.slug
    open_yet = record.status in OPEN
    state, word = _import_state(record)
    action = "cancel" if open_yet else "retry"
    actions = []
    if may_change and (open_yet or (state != "done" and dataset.status == "failed")):
        name, icon = ("Stop", "square") if open_yet else ("Read again", "refresh")
        href = reverse("projects:import-act", args=[slug, record.pk, action])
        actions.append(Action(name, icon, href))
    return Entry(
        key=f"import-{record.pk}",
        name=f"Read {record.filename}",
        href=reverse("projects:dataset", args=[slug, dataset.number]),
        project=dataset.project.name,
        sort="Import",
        at=record.created_at,
        state=state,
        state_text=word,
        text=_import_counts(record),
        who=str(dataset.created_by) if dataset.created_by else "OpenClio",
        percent=100 * record.bytes_read / record.size if open_yet and record.size else None,
        actions=actions,
        reason=record.error if state in {"failed", "quarantined"} else "",
    )


def _import_state(record: Import) -> tuple[str, str]:
    if record.status == WorkStatus.DONE:
        if record.error:
            return "failed", "Failed"
        return (PARTIAL, "Complete in part") if record.rejected else ("done", "Complete")
    return str(record.status), record.get_status_display()


def _import_counts(record: Import) -> str:
    said = count_of(record.accepted, "conversation")
    return f"{said} · {record.rejected:,} rejected" if record.rejected else said
