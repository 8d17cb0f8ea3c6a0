"""Shapes of the API of projects and data sets."""

from __future__ import annotations

from datetime import datetime
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
