"""CSV with one message per row; columns are recognised by their usual names."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from projects.documents import Document
from projects.readers.base import Parsed, Problem, Sniff, Unreadable, excerpt, head_of, open_text
from projects.readers.jsonl import problem_of

COLUMNS: dict[str, tuple[str, ...]] = {
    "id": (
        "conversation_id",
        "conversationid",
        "conversation",
        "conv_id",
        "thread_id",
        "thread",
        "chat_id",
        "session_id",
        "session",
        "ticket_id",
        "ticket",
        "dialogue_id",
        "id",
    ),
    "role": ("role", "speaker", "sender", "author", "from", "participant", "who"),
    "content": ("content", "text", "message", "body", "utterance"),
    "ts": ("ts", "timestamp", "time", "created_at", "date", "datetime", "sent_at"),
    "user": ("end_user", "end_user_id", "user_id", "user", "customer_id"),
    "language": ("language", "lang"),
}
"""Names a column may have, best first. The first one present is taken."""

NEEDED = ("id", "role", "content")

MAX_FIELD = 16 * 1024 * 1024
DELIMITERS = ",;\t|"


def dialect_of(head: str) -> str:
    """The delimiter of the header line: the one that occurs most."""
    header = head.split("\n", 1)[0]
    return max(DELIMITERS, key=header.count)


def mapping_of(header: list[str]) -> dict[str, int]:
    """Which column holds what, by name."""
    names = [name.strip().strip("\ufeff").lower().replace(" ", "_") for name in header]
    found = {}
    for field, candidates in COLUMNS.items():
        for name in candidates:
            if name in names and names.index(name) not in found.values():
                found[field] = names.index(name)
                break
    return found


class CsvRows:
    """A table with a column each for the conversation, the speaker and the text."""

    key = "csv"
    label = "CSV, one message per row"

    def sniff(self, head: str) -> Sniff:
        """A header that names conversation, speaker and text."""
        if head.lstrip()[:1] in "{[<":
            return Sniff(0.0, "it does not begin with a header row.")
        first = next(csv.reader(io.StringIO(head), delimiter=dialect_of(head)), [])
        missing = [field for field in NEEDED if field not in mapping_of(first)]
        if missing:
            words = {"id": "the conversation", "role": "the speaker", "content": "the text"}
            return Sniff(0.0, f"no column for {', '.join(words[m] for m in missing)}.")
        return Sniff(0.8, "its header names conversation, speaker and text")

    def read(self, path: Path) -> Iterator[Parsed | Problem]:
        """Conversations in the order in which they first appear; rows may be interleaved."""
        csv.field_size_limit(MAX_FIELD)
        groups: dict[str, tuple[int, list[dict[str, Any]], dict[str, Any]]] = {}
        delimiter = dialect_of(head_of(path))
        with open_text(path) as file:
            rows = csv.reader(file, delimiter=delimiter)
            columns = mapping_of(next(rows, []))
            try:
                yield from self._collect(rows, columns, groups)
            except csv.Error as error:
                raise Unreadable(
                    "unknown_format", why=f"Line {rows.line_num} is not CSV: {error}."
                ) from error
        for key, (line, messages, metadata) in groups.items():
            yield _document(line, key, messages, metadata)

    def _collect(
        self, rows: Any, columns: dict[str, int], groups: dict[str, Any]
    ) -> Iterator[Problem]:
        needed = max(columns[field] for field in NEEDED)
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) <= needed:
                text = excerpt(",".join(row))
                reason = f"The row has {len(row)} cells, {needed + 1} are needed."
                yield Problem(rows.line_num, "ragged", reason, text)
                continue
            cell = {field: row[at] for field, at in columns.items() if at < len(row)}
            key = cell["id"].strip()
            metadata = {name: cell[name] for name in ("user", "language") if cell.get(name)}
            entry = groups.setdefault(key, (rows.line_num, [], metadata))
            message = {"role": cell["role"].strip() or "unknown", "content": cell["content"]}
            if cell.get("ts"):
                message["ts"] = cell["ts"].strip()
            entry[1].append(message)


def _document(
    line: int, key: str, messages: list[dict[str, Any]], metadata: dict[str, Any]
) -> Parsed | Problem:
    try:
        document = Document.model_validate({"id": key, "messages": messages, "metadata": metadata})
    except ValidationError as error:
        return Problem(line, "wrong_shape", problem_of(error)[:300], key[:200])
    if document.empty:
        return Problem(line, "empty", "No message says anything.", key[:200])
    return Parsed(line, document)
