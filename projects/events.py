"""Events of a data set. Their topic is ``dataset:<id>``."""

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
