"""Numbers, money, sizes and times as people read them. Everything returns plain text."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal

NOTHING = "–"
Number = int | float | Decimal


def thousands(value: Number | None) -> str:
    """``12345`` as "12,345"; unknown as a dash."""
    return NOTHING if value is None else f"{value:,.0f}"


def share(value: float | None) -> str:
    """A fraction 0-1 as whole percent, with one decimal under 10 %; never "0%" for a few."""
    if value is None:
        return NOTHING
    percent = value * 100
    if 0 < percent < 0.05:
        return "under 0.1%"
    if 0 < percent < 9.95:
        return f"{percent:.1f}%"
    return f"{percent:.0f}%"


def money(value: Number | None) -> str:
    """US dollars to the cent, from 100 on to the dollar; unknown is "unpriced", never 0."""
    if value is None:
        return "unpriced"
    amount = float(value)
    if 0 < amount < 0.01:
        return "under $0.01"
    return f"${amount:,.2f}" if amount < 100 else f"${amount:,.0f}"


def count_of(number: int, word: str, plural: str = "") -> str:
    """A number with its word: "1 minute", "24 minutes"."""
    return f"{number:,} {word if number == 1 else plural or word + 's'}"


def duration(value: float | timedelta | None) -> str:
    """Seconds as "1.2 s", "41 s", "24 minutes", "2 hours 5 minutes"."""
    if value is None:
        return NOTHING
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return count_of(minutes, "minute")
    hours, rest = divmod(minutes, 60)
    tail = f" {count_of(rest, 'minute')}" if rest and hours < 10 else ""
    return f"{count_of(hours, 'hour')}{tail}"


def size(value: Number | None) -> str:
    """Bytes in the units of file managers (powers of 1000): "340 B", "1.4 MB"."""
    if value is None:
        return NOTHING
    amount = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5 or unit == "GB":
            break
        amount /= 1000
    whole = unit == "B" or amount >= 99.5
    return f"{amount:.0f} {unit}" if whole else f"{amount:.1f} {unit}"


def day(value: date) -> str:
    """A date as "3 June 2026"."""
    return f"{value.day} {value:%B %Y}"


def when(value: datetime | None, now: datetime) -> str:
    """Exact today ("14:07"), then "Yesterday 18:20", then a date. Both in one time zone."""
    if value is None:
        return NOTHING
    ago = (now.date() - value.date()).days
    if ago == 0:
        return f"{value:%H:%M}"
    if ago == 1:
        return f"Yesterday {value:%H:%M}"
    return day(value)


def period(first: datetime | None, last: datetime | None) -> str:
    """The days from ``first`` to ``last``, each part said once: "1 to 30 June 2026"."""
    if first is None or last is None:
        return "No times given"
    if first.date() == last.date():
        return day(first)
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day} to {day(last)}"
    if first.year == last.year:
        return f"{first.day} {first:%B} to {day(last)}"
    return f"{day(first)} to {day(last)}"
