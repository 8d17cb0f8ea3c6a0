"""What a reader is, and what it yields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from core.errors import AppError
from projects.documents import Document


class Unreadable(AppError):
    """The file as a whole cannot be read; ``unknown_format`` when it is of another kind."""

    code, status = "unreadable", 422


@dataclass(frozen=True, slots=True)
class Sniff:
    """How sure a reader is (0 to 1), and why in words."""

    confidence: float
    reason: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """One conversation and the line it began on."""

    line: int
    document: Document


@dataclass(frozen=True, slots=True)
class Problem:
    """One place that could not be read. ``excerpt`` is shown to the person, bounded."""

    line: int
    kind: str
    reason: str
    excerpt: str = ""


class Reader(Protocol):
    """One foreign format."""

    key: str
    label: str

    def sniff(self, head: str) -> Sniff:
        """How certainly a file beginning with ``head`` has this format."""
        ...

    def read(self, path: Path) -> Iterator[Parsed | Problem]:
        """All conversations and problems, in the order of the file."""
        ...


def excerpt(text: str) -> str:
    """The beginning of a line for a message."""
    return text[:200].replace("\x00", "")
