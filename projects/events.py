"""Events of a data set (topic ``dataset:<id>``) and of a job (``job:<id>``)."""

from __future__ import annotations

from typing import ClassVar

from core.events import LiveEvent


class ImportMoved(LiveEvent):
    """More of the file was read."""

    kind: ClassVar[str] = "import"
    accepted: int
    rejected: int


class ImportEnded(LiveEvent):
    """The file is read, or cannot be."""

    kind: ClassVar[str] = "imported"
    accepted: int
    error: str = ""


class JobMoved(LiveEvent):
    """More items of a job are through. The topic is ``job:<id>``."""

    kind: ClassVar[str] = "job"
    done: int
    failed: int
    total: int


class JobEnded(LiveEvent):
    """A job is over, was stopped or taken back, or waits again."""

    kind: ClassVar[str] = "job-ended"
    status: str
    text: str = ""
