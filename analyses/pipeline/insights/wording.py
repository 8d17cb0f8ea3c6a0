"""Numbers, dates and languages as the pages write them (design guide, sections 8 and 10)."""

from __future__ import annotations

from datetime import date

from analyses.pipeline.local.words import language_name

UNKNOWN = frozenset({"", "und", "unknown", "zxx", "none"})
"""Answers that name no language (``und`` and ``zxx``: ISO 639-2)."""


def language(code: str) -> str:
    """Name of a language code, region dropped; "" for answers that name none."""
    text = code.strip()
    return "" if text.lower() in UNKNOWN else language_name(text)


def share(value: float) -> str:
    """A share in whole percent, one decimal under 10 %."""
    percent = value * 100
    if 0 < percent < 0.05:
        return "under 0.1%"
    return f"{percent:.1f}%" if 0 < percent < 9.95 else f"{percent:.0f}%"


def number(value: int) -> str:
    """A count with thousands separated."""
    return f"{value:,}"


def conversations(value: int) -> str:
    """A count of conversations in words."""
    return "1 conversation" if value == 1 else f"{number(value)} conversations"


def day(value: date, *, year: bool) -> str:
    """A date as "3 June", with the year when the data spans several."""
    text = f"{value.day} {value:%B}"
    return f"{text} {value.year}" if year else text


def answer(value: object) -> str:
    """A facet answer in words, bounded: answers come from a model and may be anything."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else text[:59].rstrip() + "…"
