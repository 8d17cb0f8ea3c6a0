"""Our own JSON: conversations with ``messages`` of ``role`` and ``content``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from projects.documents import Document
from projects.readers.base import Parsed, Problem, Sniff, excerpt
from projects.readers.json_rows import first_rows, rows
from projects.readers.opening import head_of
from projects.readers.shapes import conversation


def problem_of(error: ValidationError) -> str:
    """The first complaint in words."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "row"
    if first["loc"] == ("messages",) and first["type"] == "too_short":
        return "It has no messages."
    return f"{place}: {first['msg']}"[:300]


def documents(path: Path) -> Iterator[Parsed | Problem]:
    """Every row of a JSON file as a conversation or a problem; what both JSON formats share."""
    for number, name, row in rows(path, head_of(path)):
        yield row if isinstance(row, Problem) else _document(number, name, row)


def _document(number: int, name: str, row: Any) -> Parsed | Problem:
    if not isinstance(row, dict):
        reason = "It is not a JSON object."
        return Problem(number, "not_object", reason, excerpt(str(row)))
    try:
        document = Document.model_validate(conversation(row, name))
    except ValidationError as error:
        return Problem(number, "wrong_shape", problem_of(error), _start(row))
    except RecursionError:
        return Problem(number, "too_deep", "It is nested too deeply.")
    if document.empty:
        return Problem(number, "empty", "No message says anything.", _start(row))
    return Parsed(number, document)


def _start(row: dict[str, Any]) -> str:
    return excerpt(f"id {row.get('id')}" if row.get("id") else ", ".join(map(str, row)))


def speaks(row: dict[str, Any]) -> bool:
    """Whether a row has messages whose text is where we look for it."""
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        return False
    return any(
        isinstance(said, str) or (isinstance(said, dict) and "content" in said) for said in messages
    )


class Jsonl:
    """``{"id", "messages": [{"role", "content", "ts"}], "metadata", "labels"}`` a line."""

    key = "jsonl"
    label = "OpenClio JSONL"

    def sniff(self, head: str) -> Sniff:
        """Objects with ``id`` and ``messages``."""
        found = first_rows(head)
        if not found:
            return Sniff(0.0, "no line is a JSON object.")
        if any("id" in row and speaks(row) for row in found):
            return Sniff(0.95, "its rows have id and messages")
        return Sniff(0.0, "no id and messages on its lines.")

    def read(self, path: Path) -> Iterator[Parsed | Problem]:
        """One conversation a row."""
        return documents(path)
