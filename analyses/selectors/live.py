"""The state of an analysis while it works: progress, time left, cost, batches, news."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import Count, Sum
from django.utils import timezone

from analyses import plan
from analyses.models import AnalysisSession, SessionStatus, StageProgress
from analyses.selectors.estimates import Cost, stored
from analyses.selectors.outlook import (
    LATELY,
    MIN_KNOWN,
    RANGE,
    RECENT,
    Point,
    Rows,
    TimeLeft,
    rate_of,
    recent_batches,
    share_over,
    time_left,
)
from providers.models import CallState, LlmCall

SPARK_BARS = 12
STAGE_OF = {
    "facets": "facets",
    "embeddings": "embed",
    "names": "name",
    "hierarchy": "hierarchy",
    "privacy": "privacy",
}
"""The stage that makes the calls of each purpose."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage in the progress bar. ``state`` is done, now or waiting."""

    key: str
    label: str
    weight: float
    percent: int
    state: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Progress:
    """The answer to "how far, how long"."""

    read: int
    total: int
    percent: int
    stages: list[Stage]
    left: TimeLeft
    rate: float | None
    """Conversations a second: lately, else on average; ``None`` while nothing is read."""
    spark: str
    """The rate over time as the ``d`` of an SVG path, 88 × 24 units."""
    pace: str = ""
    """What the rate means, in words."""
    seen: int = 0
    """Conversations tried: read or skipped."""
    spend: Cost | None = None
    """What the whole will cost."""


@dataclass(frozen=True, slots=True)
class Spend:
    """What one model at one provider did for this analysis."""

    provider: str
    model: str
    calls: int
    share: float
    cost: Decimal | None


def progress_of(session: AnalysisSession, now: datetime | None = None) -> Progress:
    """How far the analysis is and how long it takes. Two queries."""
    rows = {row.key: row for row in session.stages.all()}
    stages = [_stage(step, rows.get(step.key)) for step in plan.STAGES]
    now = now or timezone.now()
    facets = rows.get("facets")
    read = session.ended or bool(facets and facets.finished_at)
    recent = [] if read else recent_batches(session, now)
    rate = rate_of(session, facets, recent, now)
    done = session.read_count + session.failed_count
    return Progress(
        read=session.read_count,
        total=session.total,
        percent=int(100 * done / session.total) if session.total else 0,
        stages=stages,
        left=time_left(session, rows, rate, now),
        rate=rate,
        spark=_spark(recent, now),
        pace=_pace(session, rate, lately=len(recent) >= LATELY),
        seen=done,
        spend=None if session.ended else expected_spend(session, rows),
    )


def _stage(step: plan.StagePlan, row: StageProgress | None) -> Stage:
    done, total = (row.items_done, row.items_total) if row else (0, 0)
    finished = bool(row and row.finished_at)
    started = bool(row and row.started_at)
    percent = 100 if finished else min(99, int(100 * done / total)) if total else 0
    state = "done" if finished else "now" if started else ""
    return Stage(step.key, step.label, step.weight, percent, state, done, total)


def _pace(session: AnalysisSession, rate: float | None, *, lately: bool) -> str:
    if rate is not None:
        return "Over the last minute" if lately else "On average while reading"
    if session.ended:
        return "Reading did not end"
    if session.status == SessionStatus.RUNNING:
        return "Known once the first batches are saved"
    return "Nothing is being read now"


def _spark(recent: Sequence[Point], now: datetime) -> str:
    """The last minute in twelve steps; empty when there is too little to draw."""
    if len(recent) < 4:
        return ""
    step = RECENT.total_seconds() / SPARK_BARS
    sums = [0.0] * SPARK_BARS
    for at, size in recent:
        place = SPARK_BARS - 1 - int((now - at).total_seconds() / step)
        sums[min(max(place, 0), SPARK_BARS - 1)] += size
    top = max(sums)
    points = [
        f"{88 * place / (SPARK_BARS - 1):.1f} {22 - 19 * value / top:.1f}"
        for place, value in enumerate(sums)
    ]
    return "M" + " L".join(points)


def spend_of(session: AnalysisSession) -> list[Spend]:
    """Who answered how many calls at what cost, largest share first. One query."""
    rows = list(
        LlmCall.objects.filter(analysis_id=session.pk, state=CallState.OK)
        .order_by()
        .values_list("provider", "model")
        .annotate(calls=Count("id"), cost=Sum("cost"))
    )
    total = sum(row[2] for row in rows) or 1
    spent = [
        Spend(provider, model, calls, calls / total, cost) for provider, model, calls, cost in rows
    ]
    return sorted(spent, key=lambda row: -row.calls)


def expected_cost(session: AnalysisSession) -> Decimal | None:
    """The cost of the whole at the present cost of a conversation; ``None`` while unknown."""
    done = session.read_count + session.failed_count
    if not session.cost or done < max(1, MIN_KNOWN * session.total):
        return None
    return session.cost * session.total / done


def expected_spend(session: AnalysisSession, rows: Rows) -> Cost | None:
    """What the whole will cost, as a range; ``None`` while nothing is known of it.

    Before the first batches it is the estimate; then the estimate at the rate at which it proves
    too high or too low, wider by what is still to come.
    """
    expected = stored(session)
    spend = expected.spend if expected else None
    if expected is None or spend is None:
        likely = expected_cost(session)
        return _around(session.cost, likely) if likely is not None else None
    over = sum(
        (share_over(rows.get(STAGE_OF[row.key])) * float(row.cost.likely))
        for row in expected.stages
        if row.cost is not None
    )
    share = over / float(spend.likely) if spend.likely else 0.0
    if share < MIN_KNOWN or not session.cost:
        return spend
    return _around(session.cost, session.cost / Decimal(share))


def _around(spent: Decimal, likely: Decimal) -> Cost:
    """A range about the likely total: only what is still to come can differ."""
    rest = max(Decimal(0), likely - spent)
    low, high = (spent + rest * Decimal(str(factor)) for factor in RANGE)
    return Cost(low, max(spent, likely), high)
