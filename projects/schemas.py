"""Shapes of the API of projects and data sets."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from ninja import Field, Schema


class ProjectIn(Schema):
    """A new project. ``workspace`` is needed only by members of several."""

    name: str = Field(max_length=120)
    description: str = Field(default="", max_length=2000)
    workspace: UUID | None = None


class ProjectOut(Schema):
    """A project."""

    id: UUID = Field(alias="uid")
    slug: str
    name: str
    description: str
    is_sample: bool
    created_at: datetime


class ProjectPage(Schema):
    """Projects, newest first; ``next`` continues."""

    items: list[ProjectOut]
    next: str | None = None


class DatasetOut(Schema):
    """A data set; counts are final once ``status`` is ``ready``."""

    id: UUID = Field(alias="uid")
    number: int
    name: str
    status: str
    conversation_count: int
    message_count: int
    user_count: int
    languages: dict[str, int]
    first_at: datetime | None
    last_at: datetime | None
    created_at: datetime


class DatasetPage(Schema):
    """Data sets, newest first; ``next`` continues."""

    items: list[DatasetOut]
    next: str | None = None


class ProblemOut(Schema):
    """A place of the file that was not read."""

    line: int
    kind: str
    reason: str


class ImportOut(Schema):
    """How the reading of a file stands."""

    status: str
    format: str
    accepted: int
    rejected: int
    error: str
    problems: list[ProblemOut]


class DatasetDetail(Schema):
    """A data set with its newest import."""

    dataset: DatasetOut
    reading: ImportOut | None


class JobIn(Schema):
    """A new job over ``ids`` (numbers of data sets or analyses, positions of conversations), or
    over everything that matches ``filter``; an empty filter means everything."""

    kind: str = Field(max_length=24)
    ids: list[int] | None = Field(default=None, max_length=10_000)
    filter: dict[str, str] | None = None
    settings: dict[str, Any] = {}
    uid: UUID | None = None
    dry_run: bool = False


class JobPlan(Schema):
    """What a job would be about, and what should be known before."""

    total: int
    says: list[str]


class JobOut(Schema):
    """A job. It is over when ``status`` is ``done``, ``quarantined`` (failed) or ``cancelled``;
    ``failed`` counts items that can be tried again."""

    id: UUID = Field(alias="uid")
    kind: str
    title: str
    status: str
    total: int
    done: int
    failed: int
    skipped: int
    error: str
    result: dict[str, Any]
    undo_until: datetime | None
    undone_at: datetime | None
    created_at: datetime
    finished_at: datetime | None


class JobPage(Schema):
    """Jobs, newest first; ``next`` continues."""

    items: list[JobOut]
    next: str | None = None


class JobItemOut(Schema):
    """One item of a job, with the reason when it failed."""

    label: str
    state: str
    error: str


class JobItemPage(Schema):
    """Items in their order; ``next`` continues."""

    items: list[JobItemOut]
    next: str | None = None


class JobDetail(Schema):
    """A job with a page of its items."""

    job: JobOut
    items: JobItemPage
