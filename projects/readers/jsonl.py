"""Our own JSON lines: one conversation a line with ``messages`` of ``role`` and ``content``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from projects.documents import Document
from projects.readers.base import MAX_LINE, Parsed, Problem, Sniff, excerpt, numbered_lines


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def parse_line(line: str) -> Any:
    """One line as JSON. Raises ``ValueError`` with a cause; ``NaN`` and deep nesting included."""
    try:
        return json.loads(line, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def first_rows(head: str, most: int = 5) -> list[Any]:
    """The first complete lines of a file that are JSON objects."""
    rows = []
    for line in head.split("\n")[: most + 1]:
        try:
            row = parse_line(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows[:most]


def problem_of(error: ValidationError) -> str:
    """The first complaint in words."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "row"
    return f"{place}: {first['msg']}"


def read_documents(path: Path, shape: Any) -> Iterator[Parsed | Problem]:
    """Lines through ``shape(row) -> dict``, validated; the walk both JSON formats share."""
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        if len(line) > MAX_LINE:
            yield Problem(number, "too_long", "The line is longer than 16 MB.", excerpt(line))
            continue
        try:
            row = parse_line(line)
        except ValueError as error:
            yield Problem(number, "not_json", f"This line is not JSON: {error}.", excerpt(line))
            continue
        yield _document(number, row, line, shape)


def _document(number: int, row: Any, line: str, shape: Any) -> Parsed | Problem:
    if not isinstance(row, dict):
        return Problem(number, "not_object", "The line is not a JSON object.", excerpt(line))
    try:
        document = Document.model_validate(shape(row))
    except ValidationError as error:
        return Problem(number, "wrong_shape", problem_of(error)[:300], excerpt(line))
    if document.empty:
        return Problem(number, "empty", "No message says anything.", excerpt(line))
    return Parsed(number, document)


class Jsonl:
    """``{"id", "messages": [{"role", "content", "ts"}], "metadata", "labels"}`` a line."""

    key = "jsonl"
    label = "OpenClio JSONL"

    def sniff(self, head: str) -> Sniff:
        """Objects with ``id`` and ``messages``."""
        rows = first_rows(head)
        if not rows:
            return Sniff(0.0, "no line is a JSON object.")
        if all("messages" in row and "id" in row for row in rows):
            return Sniff(0.95, "each line has id and messages")
        return Sniff(0.0, "no id and messages on its lines.")

    def read(self, path: Path) -> Iterator[Parsed | Problem]:
        """One conversation a line."""
        return read_documents(path, lambda row: row)
