"""What a reader is, and the opening of files that every reader shares."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from core.errors import AppError
from projects.documents import Document

HEAD_BYTES = 256 * 1024
"""How much of a file is looked at to recognise it."""

MAX_LINE = 16 * 1024 * 1024
"""Longest line read, in characters; longer ones are reported and skipped."""

MAX_UNPACKED = 8 * 1024**3
"""Most bytes a compressed file may unpack to."""

BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Unreadable(AppError):
    """The file as a whole cannot be read."""

    code, status = "unknown_format", 422


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


def _raw(path: Path) -> IO[bytes]:
    with path.open("rb") as probe:
        packed = probe.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")


def _encoding(head: bytes) -> str:
    for mark, name in BOMS:
        if head.startswith(mark):
            return name
    return "utf-8"


@contextmanager
def open_text(path: Path) -> Iterator[io.TextIOWrapper]:
    """The file as text, unpacked if it is gzip; undecodable bytes become U+FFFD.

    Lines end at ``\\n`` alone: texts contain U+2028. Raises :class:`Unreadable` for damaged gzip.
    """
    try:
        with _raw(path) as raw:
            encoding = _encoding(raw.read(4))
            raw.seek(0)
            with io.TextIOWrapper(raw, encoding=encoding, errors="replace", newline="\n") as text:
                yield text
    except (OSError, EOFError, zlib.error) as error:
        raise Unreadable(
            "unknown_format", why=f"The file is damaged or cut off: {error}."
        ) from error


def head_of(path: Path) -> str:
    """The beginning of a file as text. Raises :class:`Unreadable` for binary files."""
    with open_text(path) as file:
        head = file.read(HEAD_BYTES)
    if "\x00" in head[:4096]:
        raise Unreadable(
            "unknown_format", why="It is a binary file. Export it as JSONL or CSV and try again."
        )
    return head


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines with their numbers from 1; a line over :data:`MAX_LINE` comes back cut."""
    total = 0
    with open_text(path) as file:
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            total += len(line)
            if total > MAX_UNPACKED:
                raise Unreadable("too_large", limit="8 GB unpacked")
            while len(line) > MAX_LINE and not line.endswith("\n"):
                rest = file.readline(MAX_LINE)
                if not rest or rest.endswith("\n"):
                    break
            yield number, line.rstrip("\r\n")


def excerpt(text: str) -> str:
    """The beginning of a line for a message."""
    return text[:200].replace("\x00", "")
