"""Usage exports of providers: one CSV line per day and model, columns told by their names."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation

from core.errors import Invalid

MOST_LINES = 1_000_000

COLUMNS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "day": (
        ("date",),
        ("day",),
        ("usage_date_utc",),
        ("usage_date",),
        ("start_time_iso",),
        ("start_time",),
        ("bucket_start_time",),
        ("timestamp",),
        ("created_at",),
    ),
    "model": (
        ("model",),
        ("model_name",),
        ("model_version",),
        ("model_id",),
        ("model_permaslug",),
        ("deployment",),
    ),
    "requests": (
        ("requests",),
        ("num_model_requests",),
        ("n_requests",),
        ("request_count",),
        ("num_requests",),
        ("calls",),
    ),
    "tokens_in": (
        ("input_tokens",),
        ("prompt_tokens",),
        ("n_context_tokens_total",),
        ("tokens_prompt",),
        (
            "usage_input_tokens_no_cache",
            "usage_input_tokens_cache_write_5m",
            "usage_input_tokens_cache_write_1h",
            "usage_input_tokens_cache_read",
        ),
        ("tokens_in",),
    ),
    "tokens_out": (
        ("output_tokens",),
        ("completion_tokens",),
        ("n_generated_tokens_total",),
        ("tokens_completion",),
        ("usage_output_tokens",),
        ("tokens_out",),
    ),
    "cost": (
        ("cost",),
        ("cost_usd",),
        ("amount",),
        ("amount_usd",),
        ("amount_value",),
        ("cost_total",),
        ("total_cost",),
    ),
}
"""Names by which exports call a column, several where a sum is split over them: OpenAI (usage and
activity exports), Anthropic (Claude Console, usage), OpenRouter (activity), and plain words."""


LONGEST_CELL = 10_000
"""Characters; the csv module's own limit is one for the whole process, and others raise it."""


@dataclass(frozen=True, slots=True)
class UsageLine:
    """What a provider says of one model on one day (UTC); ``None`` for what it does not say."""

    day: date
    model: str
    requests: int | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost: Decimal | None = None


def read_usage(lines: Iterable[str]) -> list[UsageLine]:
    """The lines of an export. Raises :class:`Invalid`, naming the line that cannot be read."""
    reader = csv.reader(lines)
    try:
        head = [_plain(name) for name in next(reader, [])]
        found = _columns(head)
        rows = []
        for number, row in enumerate(reader, start=2):
            if number > MOST_LINES:
                raise Invalid(f"The file has more than {MOST_LINES:,} lines.")
            if any(len(cell) > LONGEST_CELL for cell in row):
                raise csv.Error("a cell is too long")
            if any(cell.strip() for cell in row):
                rows.append(_line(number, row, found))
    except csv.Error as error:
        raise Invalid(f"The file is not CSV: line {reader.line_num}.") from error
    return rows


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.strip("\ufeff \t").lower()).strip("_")


def _columns(head: list[str]) -> dict[str, list[int]]:
    """Where each of our columns stands in the file."""
    found: dict[str, list[int]] = {}
    for ours, choices in COLUMNS.items():
        names = next((names for names in choices if any(name in head for name in names)), ())
        found[ours] = [head.index(name) for name in names if name in head]
    missing = [name for name in ("day", "model") if not found[name]]
    if missing or not any(found[name] for name in ("requests", "tokens_in", "tokens_out", "cost")):
        raise Invalid(
            "The first line must name a date, a model, and requests, tokens or cost. "
            f"Columns found: {', '.join(head)[:200] or 'none'}."
        )
    return found


def _line(number: int, row: list[str], found: Mapping[str, list[int]]) -> UsageLine:
    def cells(name: str) -> list[str]:
        return [row[at].strip() for at in found[name] if at < len(row)]

    try:
        (day, *_), (model, *_) = cells("day"), cells("model")
        return UsageLine(
            _day(day),
            model[:200],
            _whole(cells("requests")),
            _whole(cells("tokens_in")),
            _whole(cells("tokens_out")),
            _sum(cells("cost")),
        )
    except (ValueError, InvalidOperation, OverflowError, OSError) as error:
        raise Invalid(f"Line {number} of the file cannot be read.") from error


def _day(text: str) -> date:
    """A date, a moment with one, or seconds since 1970; without a zone it is UTC."""
    if re.fullmatch(r"\d{9,11}(\.\d+)?", text):
        return datetime.fromtimestamp(float(text), UTC).date()
    if len(text) == 10:
        return date.fromisoformat(text)
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment.date() if moment.tzinfo is None else moment.astimezone(UTC).date()


def _whole(cells: list[str]) -> int | None:
    total = _sum(cells)
    return None if total is None else int(total)


def _sum(cells: list[str]) -> Decimal | None:
    numbers = [Decimal(cell.replace(",", "").lstrip("$")) for cell in cells if cell]
    if not all(number.is_finite() and abs(number) < 10**15 for number in numbers):
        raise ValueError
    return sum(numbers, Decimal(0)) if numbers else None
