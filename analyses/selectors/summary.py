"""A finished analysis at a glance, and what went wrong in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from analyses import artifacts
from analyses.models import AnalysisSession, ArtifactKind, Outcome
from analyses.selectors.actuals import Actuals, actuals_of
from analyses.selectors.batches import classes_of
from analyses.selectors.explore import floor_of, hidden_text
from analyses.selectors.live import Spend, spend_of
from analyses.selectors.tree import Tree, tree_of
from core import figures

EXAMPLES = 5
FIRM, FAIR = 0.65, 0.4
"""Adjusted Rand index from which a second look would find the same groups, and about the same."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What the summary page shows. ``report`` is the report card's figures, if there are any."""

    tree: Tree
    report: dict[str, Any]
    spend: list[Spend]
    removed: int
    floor: int
    seconds: float | None
    actuals: Actuals | None = None

    @property
    def hidden(self) -> str:
        """How much is withheld, in words."""
        return hidden_text(self.tree, self.floor)

    @property
    def rows(self) -> list[Row]:
        """The report card in words; figures that are not known are left out."""
        found = [
            _conversations(self.report),
            _rest(self.report),
            _stability(self.report),
            Row("Duplicate names", figures.thousands(len(self.report["duplicate_names"])))
            if "duplicate_names" in self.report
            else None,
            Row("Counts", "Add up at every level" if self.report["adds_up"] else "Do not add up")
            if "adds_up" in self.report
            else None,
            Row(
                "Personal details", f"Removed from {figures.count_of(self.removed, 'conversation')}"
            ),
            _hidden(self.tree, self.floor),
        ]
        return [row for row in found if row]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report card."""

    label: str
    text: str


def _conversations(report: dict[str, Any]) -> Row | None:
    counts = report.get("conversations")
    if not counts:
        return None
    share = figures.share(counts.get("coverage"))
    return Row("Coverage", f"{share}: {counts['read']:,} of {counts['total']:,} read")


def _rest(report: dict[str, Any]) -> Row | None:
    rest = report.get("rest")
    if not rest:
        return None
    return Row("In no cluster", f"{rest['count']:,} ({figures.share(rest['share'])})")


def _stability(report: dict[str, Any]) -> Row | None:
    stability = report.get("stability") or {}
    mean = stability.get("mean")
    if mean is None:
        return None
    words = "firm" if mean >= FIRM else "fair" if mean >= FAIR else "shaky"
    return Row("Stability", f"{mean:.2f} of 1 over resamples, {words}")


def _hidden(tree: Tree, floor: int) -> Row:
    if not tree.hidden_groups:
        return Row("Withheld groups", "None")
    inside = figures.count_of(tree.hidden_conversations, "conversation")
    return Row("Withheld groups", f"{hidden_text(tree, floor)}, with {inside}")


@dataclass(frozen=True, slots=True)
class Failure:
    """Conversations that could not be read for one reason, with a few of their positions."""

    error_class: str
    count: int
    message: str
    positions: list[int]


def summary_of(session: AnalysisSession) -> Summary:
    """Four queries and one small file; one more when the analysis had an estimate."""
    seconds = None
    if session.started_at and session.finished_at:
        seconds = (session.finished_at - session.started_at).total_seconds()
    return Summary(
        tree=tree_of(session),
        report=artifacts.load_json(session, ArtifactKind.REPORT) or {},
        spend=spend_of(session),
        removed=session.items.exclude(spans=[]).count(),
        floor=floor_of(session),
        seconds=seconds,
        actuals=actuals_of(session),
    )


def failures_of(session: AnalysisSession) -> list[Failure]:
    """Why conversations were skipped, commonest reason first. One query and one per reason."""
    return [_failure(session, error_class, count) for error_class, count in classes_of(session)]


def _failure(session: AnalysisSession, error_class: str, count: int) -> Failure:
    rows = session.items.filter(outcome=Outcome.FAILED, error_class=error_class)
    found = list(rows.order_by("position").values_list("position", "error")[:EXAMPLES])
    return Failure(error_class, count, found[0][1], [position for position, _ in found])
