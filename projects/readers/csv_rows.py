"""CSV with one message per row; columns are recognised by their usual names."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from projects.documents import Document
from projects.readers.base import Parsed, Problem, Sniff, Unreadable, excerpt
from projects.readers.jsonl import problem_of
from projects.readers.opening import MAX_LINE, head_of, open_text, skip_rest
from projects.readers.shapes import role_of, time_text

COLUMNS: dict[str, tuple[str, ...]] = {
    "id": (
        "conversationid",
        "conversation",
        "convid",
        "convoid",
        "threadid",
        "thread",
        "chatid",
        "chat",
        "sessionid",
        "session",
        "ticketid",
        "ticket",
        "caseid",
        "callid",
        "dialogueid",
        "dialogid",
        "id",
    ),
    "role": ("role", "speaker", "speakername", "sender", "author", "from", "participant", "who"),
    "content": ("content", "text", "messagetext", "message", "body", "utterance", "msg"),
    "ts": ("ts", "timestamp", "time", "createdat", "sentat", "datetime", "date"),
    "user": ("enduser", "enduserid", "userid", "user", "customerid"),
    "language": ("language", "lang"),
}
"""Names a column may have without spaces and underscores, best first."""

NEEDED = {"id": "the conversation", "role": "the speaker", "content": "the text"}

MAX_FIELD = 16 * 1024 * 1024
DELIMITERS = ",;\t|"

MAX_OPEN_QUOTES = 20
"""How often a quote that never closes is stepped over before the file is given up."""

Row = tuple[int, list[str] | Problem]


def dialect_of(head: str) -> str:
    """The delimiter: named by Excel's ``sep=`` line, else the one most frequent in the header."""
    header = _first_line(head)
    if header.lower().startswith("sep=") and len(header) == 5:
        return header[4]
    bare = re.sub(r'"[^"]*"', "", header)
    return max(DELIMITERS, key=bare.count)


def _first_line(head: str) -> str:
    return next((line for line in re.split(r"[\r\n]", head.lstrip("\ufeff")) if line.strip()), "")


def mapping_of(header: list[str]) -> dict[str, int]:
    """Which column holds what, by name."""
    names = [re.sub(r"[\W_]", "", name).lower() for name in header]
    found: dict[str, int] = {}
    for part, candidates in COLUMNS.items():
        for name in candidates:
            if name in names and names.index(name) not in found.values():
                found[part] = names.index(name)
                break
    return found


class CsvRows:
    """A table with a column each for the conversation, the speaker and the text."""

    key = "csv"
    label = "CSV, one message per row"

    def sniff(self, head: str) -> Sniff:
        """A header that names conversation, speaker and text."""
        if head.lstrip("\ufeff \t\r\n")[:1] in ("{", "[", "<"):
            return Sniff(0.0, "it does not begin with a header row")
        try:
            with _wide_fields():
                header = _header(csv.reader(io.StringIO(head), delimiter=dialect_of(head)))
        except csv.Error:
            return Sniff(0.0, "its first row is no row of a table")
        missing = [words for part, words in NEEDED.items() if part not in mapping_of(header)]
        if missing:
            return Sniff(0.0, f"its first row names no column for {', '.join(missing)}")
        return Sniff(0.8, "its header names conversation, speaker and text")

    def read(self, path: Path) -> Iterator[Parsed | Problem]:
        """Conversations in the order in which they end; rows may be interleaved.

        The file is read twice: first to count the rows of every conversation, so that each can
        leave as soon as its last row was seen and memory holds only those still open.
        """
        table = _Table(path)
        counts: Counter[str] = Counter()
        for _, row in table.rows():
            if not isinstance(row, Problem):
                counts[table.cell(row, "id")] += 1
        yield from _grouped(table, counts)


@dataclass(slots=True)
class _Group:
    """A conversation whose rows are still coming."""

    line: int
    metadata: dict[str, str]
    messages: list[dict[str, Any]] = field(default_factory=list)


def _grouped(table: _Table, counts: Counter[str]) -> Iterator[Parsed | Problem]:
    open_groups: dict[str, _Group] = {}
    for line, row in table.rows():
        if isinstance(row, Problem):
            yield row
            continue
        key = table.cell(row, "id")
        group = open_groups.get(key)
        if group is None:
            group = open_groups[key] = _Group(line, table.metadata(row))
        group.messages.append(table.message(row))
        counts[key] -= 1
        if not counts[key]:
            del open_groups[key]
            yield _document(key, group)


def _document(key: str, group: _Group) -> Parsed | Problem:
    row = {"id": key, "messages": group.messages, "metadata": group.metadata}
    try:
        document = Document.model_validate(row)
    except ValidationError as error:
        return Problem(group.line, "wrong_shape", problem_of(error), excerpt(key))
    if document.empty:
        return Problem(group.line, "empty", "No message says anything.", excerpt(key))
    return Parsed(group.line, document)


class _Table:
    """The rows of a file as cells or problems; it can be walked more than once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._delimiter = dialect_of(head_of(path))
        self._header: list[str] = []
        self._columns: dict[str, int] = {}

    def cell(self, row: list[str], part: str) -> str:
        """A cell by what it holds, "" where the row has none."""
        place = self._columns.get(part, len(row))
        return row[place].strip() if place < len(row) else ""

    def metadata(self, row: list[str]) -> dict[str, str]:
        """What the row says about the whole conversation."""
        return {name: value for name in ("user", "language") if (value := self.cell(row, name))}

    def message(self, row: list[str]) -> dict[str, Any]:
        """The row as a message."""
        return {
            "role": role_of(self.cell(row, "role")),
            "content": row[self._columns["content"]],
            "ts": time_text(self.cell(row, "ts") or None),
        }

    def rows(self) -> Iterator[Row]:
        """Every row after the header with the line it begins on."""
        with open_text(self._path) as file, _wide_fields():
            lines = _Lines(file)
            self._header = _header(self._reader(lines))
            self._columns = mapping_of(self._header)
            for _ in range(MAX_OPEN_QUOTES):
                closed = yield from self._walk(lines)
                if closed:
                    return
                yield lines.step_over()
        raise Unreadable(why="Quotes are opened again and again and never closed.")

    def _reader(self, lines: _Lines) -> Any:
        return csv.reader(lines, delimiter=self._delimiter)

    def _walk(self, lines: _Lines) -> Generator[Row, None, bool]:
        """Rows up to the end (true), or up to a quote that never closes (false)."""
        reader = self._reader(lines)
        lines.begin_row()
        try:
            for row in reader:
                if lines.odd and lines.ended:
                    return False
                yield from self._checked(lines.first, row)
                lines.begin_row()
        except csv.Error:
            return False
        return True

    def _checked(self, line: int, row: list[str]) -> Iterator[Row]:
        reason = self._fault(row)
        if reason:
            yield line, Problem(line, *reason, excerpt(self._delimiter.join(row)))
        else:
            yield line, row

    def _fault(self, row: list[str]) -> tuple[str, str] | None:
        """Kind and reason why a row cannot be taken."""
        width, needed = len(self._header), max(self._columns[part] for part in NEEDED)
        if not any(cell.strip() for cell in row):
            return "blank", "The row is blank."
        if len(row) <= needed:
            return "ragged", f"The row has {len(row)} cells, {needed + 1} are needed."
        if any(cell.strip() for cell in row[width:]):
            return "ragged", f"The row has {len(row)} cells, the header has {width}."
        if self._split(row):
            return "unquoted", "The text holds a delimiter but no quotes stand around it."
        if row[: needed + 1] == self._header[: needed + 1]:
            return "header", "The header row appears again."
        if not self.cell(row, "id"):
            return "no_id", "The row names no conversation."
        return None

    def _split(self, row: list[str]) -> bool:
        """Whether the text seems to go on in the next cell, after a comma and a space."""
        text, following = row[self._columns["content"] :][:1], row[self._columns["content"] + 1 :]
        return bool(following) and following[0][:1] == " " and text[0][:1] != " "


class _Lines:
    """Lines for the csv module, bounded, with those of the row at hand kept for a second try."""

    def __init__(self, file: io.TextIOWrapper) -> None:
        self._file = file
        self._again: list[str] = []
        self._row: list[str] = []
        self._size = 0
        self.number = 0
        self.ended = False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._again.pop() if self._again else self._file.readline(MAX_LINE + 1)
        if not line:
            self.ended = True
            raise StopIteration
        self.number += 1
        self._size += len(line)
        self._row.append(line)
        if len(line) > MAX_LINE and not line.endswith(("\n", "\r")):
            skip_rest(self._file)
            self._size = MAX_FIELD + 1
        if self._size > MAX_FIELD:
            raise csv.Error("the row is too long")
        return line.replace("\x00", "")

    @property
    def first(self) -> int:
        """The line on which the row at hand began."""
        return self.number - len(self._row) + 1

    @property
    def odd(self) -> bool:
        """Whether the row at hand has a quote too many."""
        return bool(sum(line.count('"') for line in self._row) % 2)

    def begin_row(self) -> None:
        """The row at hand is done with."""
        self._row, self._size = [], 0

    def step_over(self) -> Row:
        """Leave out the first line of the row at hand and give back the others."""
        line = self.number - len(self._row) + 1
        over = self._row[0] if self._row else ""
        self.number = line
        self._again.extend(reversed(self._row[1:]))
        self.begin_row()
        self.ended = False
        reason = "A quote is opened here and never closed."
        if len(over) > MAX_LINE:
            reason = f"The line is longer than {MAX_LINE // 1024**2} MB."
        return line, Problem(line, "open_quote", reason, excerpt(over))


def _header(reader: Any) -> list[str]:
    """The first row that is not blank, after Excel's ``sep=`` line if there is one."""
    for row in reader:
        named = [cell.strip().strip("\ufeff") for cell in row]
        # A delimiter named in this line splits it, so that its last cell is empty.
        if any(named) and not named[0].lower().startswith("sep="):
            return [cell.strip("\ufeff") for cell in row]
    return []


@contextmanager
def _wide_fields() -> Iterator[None]:
    """Let the csv module take long cells; its limit belongs to the process."""
    csv.field_size_limit(max(csv.field_size_limit(), 2 * MAX_FIELD))
    yield
