"""Which models read an analysis, and what changed on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Count

from analyses.models import AnalysisSession, ModelChange, Outcome
from analyses.selectors.comparisons import Line, line_of
from analyses.selectors.live import Spend
from core import figures

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True, slots=True)
class Reader:
    """A model with the conversations whose answers it gave."""

    model: str
    count: int
    share: float


def readers_of(session: AnalysisSession) -> list[Reader]:
    """Every model that read conversations, most first. One query."""
    rows = session.items.filter(outcome=Outcome.READ).order_by().values_list("model")
    counts = list(rows.annotate(count=Count("pk")).order_by("-count", "model"))
    total = sum(count for _, count in counts) or 1
    return [Reader(model, count, count / total) for model, count in counts]


def mixed_text(readers: list[Reader]) -> str:
    """That several models read, and how much each; empty when one did."""
    if len(readers) < 2:
        return ""
    number = NUMBERS[len(readers)] if len(readers) < len(NUMBERS) else str(len(readers))
    names = ", ".join(one.model or "unknown" for one in readers[:-1])
    shares = ", ".join(figures.share(one.share) for one in readers[:-1])
    last = readers[-1]
    return (
        f"Read by {number} models: {names} and {last.model or 'unknown'}, "
        f"{shares} and {figures.share(last.share)}."
    )


def mixed_of(session: AnalysisSession, spend: Sequence[Spend]) -> str:
    """:func:`mixed_text` of an analysis. No query unless several models took part in it."""
    several = len(spend) + (session.chat_id is None) > 1
    return mixed_text(readers_of(session)) if several else ""


@dataclass(frozen=True, slots=True)
class Changed:
    """A change of models in words."""

    text: str
    agreement: str
    lines: list[Line]


def changes_of(session: AnalysisSession) -> list[Changed]:
    """What changed about who reads, oldest first. One query."""
    return [_changed(change) for change in session.changes.all()]


def _changed(change: ModelChange) -> Changed:
    text = f"{change.after} took over from {change.before} after {change.position:,} conversations."
    report = change.agreement
    if not report:
        return Changed(text, "Nobody compared them before.", [])
    compared = figures.count_of(int(report["compared"]), "conversation")
    told = f"Compared on {compared} before."
    return Changed(text, told, [line_of(line) for line in report["facets"]])
