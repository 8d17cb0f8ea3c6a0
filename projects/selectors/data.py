"""Reads about projects and data sets, ready for pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Prefetch, Q, QuerySet, Sum

from accounts.models import User
from core.errors import NotFound
from core.figures import count_of, period, share, thousands
from projects.models import Conversation, Dataset, DatasetStatus, Import, Project

LISTED_PROBLEMS = 50
PREVIEWED = 8


def projects(user: User) -> QuerySet[Project]:
    """The person's projects, newest first, with how much is in each. One query."""
    rows = Project.objects.for_user(user).annotate(
        dataset_total=Count("datasets", filter=Q(datasets__deleted_at=None), distinct=True),
        analysis_total=Count(
            "analyses",
            filter=Q(analyses__deleted_at=None, analyses__dataset__deleted_at=None),
            distinct=True,
        ),
    )
    # A grouped query forgets the model's own order.
    return rows.order_by("-id")


def project(user: User, slug: str) -> Project:
    """One project by its address; raises :class:`NotFound` for strangers."""
    found = Project.objects.for_user(user).select_related("workspace").filter(slug=slug).first()
    if found is None:
        raise NotFound
    return found


def datasets(project: Project) -> QuerySet[Dataset]:
    """The project's data sets, newest first, each with its imports. Two queries."""
    imports = Prefetch("imports", queryset=Import.objects.order_by("-id"))
    return project.datasets.filter(deleted_at=None).prefetch_related(imports)


def dataset(user: User, slug: str, number: int) -> Dataset:
    """One data set by its address; raises :class:`NotFound` for strangers."""
    found = (
        Dataset.objects.filter(project__in=Project.objects.for_user(user), deleted_at=None)
        .select_related("project__workspace", "created_by")
        .filter(project__slug=slug, number=number)
        .first()
    )
    if found is None:
        raise NotFound
    return found


def conversation(user: User, slug: str, number: int, position: int) -> Conversation:
    """One conversation by its place; raises :class:`NotFound` for strangers."""
    owner = dataset(user, slug, number)
    found = owner.conversations.filter(position=position, deleted_at=None).first()
    if found is None:
        raise NotFound
    found.dataset = owner
    return found


@dataclass(frozen=True)
class LanguageRow:
    """A language and how many conversations are in it; ``part`` is 0-1 of all."""

    code: str
    count: int
    part: float


@dataclass(frozen=True)
class DatasetPage:
    """Everything the page of a data set shows."""

    dataset: Dataset
    record: Import | None
    percent: float
    figures: list[dict[str, Any]]
    languages: list[LanguageRow]
    problems: list[Any]
    problem_total: int
    preview: list[Conversation]


def overview(project: Project) -> list[dict[str, Any]]:
    """The project's key figures. One query."""
    rows = project.datasets.filter(status=DatasetStatus.READY, deleted_at=None)
    sums = rows.aggregate(
        conversations=Sum("conversation_count"), messages=Sum("message_count"), sets=Count("id")
    )
    times = [(row.first_at, row.last_at) for row in rows]
    first = min((a for a, _ in times if a), default=None)
    last = max((b for _, b in times if b), default=None)
    count, messages = sums["conversations"] or 0, sums["messages"] or 0
    return [
        {"label": "Conversations", "value": thousands(count), "text": _in_sets(sums["sets"])},
        {"label": "Messages", "value": thousands(messages), "text": _per(messages, count)},
        {"label": "From", "value": period(first, last), "text": "First to last conversation"},
    ]


def dataset_page(dataset: Dataset) -> DatasetPage:
    """The page of a data set, while it is read and afterwards. At most four queries."""
    record = dataset.imports.order_by("-id").first()
    # Line numbers are only unique within one file, so problems are those of the newest one.
    problems = list(record.problems.all()[:LISTED_PROBLEMS]) if record else []
    ready = dataset.status == DatasetStatus.READY
    kept = dataset.conversations.filter(deleted_at=None).defer("messages", "metadata")
    preview = kept[:PREVIEWED] if ready else []
    return DatasetPage(
        dataset=dataset,
        record=record,
        percent=100 * record.bytes_read / record.size if record and record.size else 0.0,
        figures=_dataset_figures(dataset) if ready else _import_figures(record),
        languages=_languages(dataset),
        problems=problems,
        problem_total=record.rejected if record else 0,
        preview=list(preview),
    )


def _dataset_figures(dataset: Dataset) -> list[dict[str, Any]]:
    count = dataset.conversation_count
    return [
        {
            "label": "Conversations",
            "value": thousands(count),
            "text": period(dataset.first_at, dataset.last_at),
        },
        {
            "label": "Messages",
            "value": thousands(dataset.message_count),
            "text": _per(dataset.message_count, count),
        },
        {
            "label": "Tokens",
            "value": thousands(dataset.token_count),
            "text": f"About {thousands(dataset.token_count / count)} a conversation"
            if count
            else "",
        },
        {
            "label": "People",
            "value": thousands(dataset.user_count) if dataset.user_count else "Unknown",
            "text": "Different end users" if dataset.user_count else "The file names no end users",
        },
    ]


def _import_figures(record: Import | None) -> list[dict[str, Any]]:
    if record is None:
        return []
    part = record.bytes_read / record.size if record.size else 0.0
    return [
        {
            "label": "Read",
            "value": share(round(part, 2)),
            "text": f"of {record.filename}",
            "percent": min(100.0, 100 * part),
        },
        {"label": "Accepted", "value": thousands(record.accepted), "text": "Conversations"},
        {"label": "Rejected", "value": thousands(record.rejected), "text": "Listed with reasons"},
    ]


def _languages(dataset: Dataset) -> list[LanguageRow]:
    total = sum(dataset.languages.values()) or 1
    rows = sorted(dataset.languages.items(), key=lambda row: -row[1])
    return [LanguageRow(code, count, count / total) for code, count in rows]


def _in_sets(count: int) -> str:
    return f"In {count_of(count, 'data set')} that can be analysed"


def _per(messages: int, conversations: int) -> str:
    return f"{messages / conversations:.1f} a conversation" if conversations else ""
