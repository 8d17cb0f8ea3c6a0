"""What an analysis cost and took, against what was expected of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import Count, Sum

from analyses.models import AnalysisSession, SessionStatus
from analyses.pipeline.forecast import Range
from analyses.selectors.estimates import Estimate, StageEstimate, stored
from core import figures
from providers.models import LlmCall

SAME = 0.005
"""A difference under half a percent is none."""
WHOLE = frozenset({SessionStatus.COMPLETED, SessionStatus.PARTIAL})


@dataclass(frozen=True, slots=True)
class Compared:
    """One quantity: what it was, what was expected, and the difference in words."""

    label: str
    actual: str
    expected: str
    words: str


@dataclass(frozen=True, slots=True)
class StageActual:
    """One stage's calls and tokens as they were, beside its estimate."""

    expected: StageEstimate
    calls: int
    tokens_in: int
    tokens_out: int
    cost: Decimal | None

    @property
    def short(self) -> str:
        """How far its tokens lie from the estimate, where a column says so."""
        expected = self.expected.tokens_in.likely + self.expected.tokens_out.likely
        words = difference(self.tokens_in + self.tokens_out, expected)
        return words.removesuffix(" the estimate").removeprefix("as ")


@dataclass(frozen=True, slots=True)
class Actuals:
    """Tokens, cost and time of a finished analysis against its estimate."""

    rows: Sequence[Compared]
    stages: Sequence[StageActual]


def difference(actual: float, expected: float) -> str:
    """How far something lies from what was expected, in words; nothing without an expectation."""
    if not expected:
        return ""
    ratio = actual / expected - 1
    if abs(ratio) < SAME:
        return "as estimated"
    side = "under" if ratio < 0 else "over"
    return f"{figures.share(abs(ratio))} {side} the estimate"


def actuals_of(session: AnalysisSession) -> Actuals | None:
    """The comparison; ``None`` for an analysis without an estimate, or one that was stopped.

    One query, none for the local engine.
    """
    expected = stored(session)
    if expected is None or session.status not in WHOLE:
        return None
    if not expected.stages:
        return Actuals([row for row in (_time(session, expected),) if row], [])
    rows = [
        _tokens("Tokens sent", session.tokens_in, expected.tokens_in),
        _tokens("Tokens answered", session.tokens_out, expected.tokens_out),
        _cost(session, expected),
        _time(session, expected),
    ]
    return Actuals([row for row in rows if row], _stages(session, expected))


def _tokens(label: str, actual: int, expected: Range) -> Compared:
    likely = float(f"{expected.likely:.3g}")
    return Compared(
        label,
        figures.thousands(actual),
        f"about {figures.thousands(likely)}",
        difference(actual, expected.likely),
    )


def _cost(session: AnalysisSession, expected: Estimate) -> Compared | None:
    spend = expected.spend
    if spend is None or session.unpriced_calls:
        return None
    words = difference(float(session.cost), float(spend.likely))
    return Compared("Cost", figures.money(session.cost), spend.text, words)


def _time(session: AnalysisSession, expected: Estimate) -> Compared | None:
    if session.started_at is None or session.finished_at is None:
        return None
    seconds = (session.finished_at - session.started_at).total_seconds()
    inside = expected.seconds.low <= seconds <= max(10, expected.seconds.high)
    words = "within the estimate" if inside else difference(seconds, expected.seconds.likely)
    return Compared("Time", figures.duration(seconds), expected.time, words)


def _stages(session: AnalysisSession, expected: Estimate) -> list[StageActual]:
    rows = (
        LlmCall.objects.filter(analysis_id=session.pk)
        .order_by()
        .values("purpose")
        .annotate(
            calls=Count("pk"), asked=Sum("tokens_in"), answered=Sum("tokens_out"), cost=Sum("cost")
        )
    )
    found = {row["purpose"]: row for row in rows}
    return [_stage(stage, found.get(stage.key) or {}) for stage in expected.stages]


def _stage(expected: StageEstimate, row: Mapping[str, Any]) -> StageActual:
    return StageActual(
        expected,
        calls=row.get("calls") or 0,
        tokens_in=row.get("asked") or 0,
        tokens_out=row.get("answered") or 0,
        cost=row.get("cost"),
    )
