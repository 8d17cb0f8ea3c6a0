"""The state of an analysis while it works: progress, time left, cost, batches, news."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Count, Sum
from django.utils import timezone

from analyses import plan
from analyses.models import AnalysisSession, SessionStatus, StageProgress
from core import figures
from core.models import WorkStatus
from providers.models import CallState, LlmCall

RECENT = timedelta(seconds=60)
LATELY = 3
"""Batches saved in the last minute from which on the rate is that of the last minute."""
SPARK_BARS = 12
AFTER_READING = 0.15
"""What follows reading takes about this share of the reading's own time …"""
AT_LEAST_AFTER = 6.0
"""… and never less than this many seconds."""
MIN_KNOWN = 0.02
"""Share of the conversations that must be read before a time is told."""
RANGE = (0.88, 1.3)
"""Early and late end of the time left, as factors; late is wider because retries only add."""


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
class TimeLeft:
    """Time left in words; ``detail`` says when, with the range."""

    text: str
    detail: str = ""


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
    recent = [] if read else _recent(session, now)
    rate = _rate(session, facets, recent, now)
    done = session.read_count + session.failed_count
    return Progress(
        read=session.read_count,
        total=session.total,
        percent=int(100 * done / session.total) if session.total else 0,
        stages=stages,
        left=_time_left(session, rows, rate, now),
        rate=rate,
        spark=_spark(recent, now),
        pace=_pace(session, rate, lately=len(recent) >= LATELY),
        seen=done,
    )


def _stage(step: plan.StagePlan, row: StageProgress | None) -> Stage:
    done, total = (row.items_done, row.items_total) if row else (0, 0)
    finished = bool(row and row.finished_at)
    started = bool(row and row.started_at)
    percent = 100 if finished else min(99, int(100 * done / total)) if total else 0
    state = "done" if finished else "now" if started else ""
    return Stage(step.key, step.label, step.weight, percent, state, done, total)


Point = tuple[datetime, int]


def _recent(session: AnalysisSession, now: datetime) -> list[Point]:
    """When the latest batches were saved, and how many conversations each held."""
    rows = session.batches.filter(
        stage="facets", status=WorkStatus.DONE, finished_at__gte=now - RECENT
    ).order_by("finished_at")
    values = rows.values_list("finished_at", "first", "last")
    return [(at, last - first) for at, first, last in values if at is not None]


def _rate(
    session: AnalysisSession, facets: StageProgress | None, recent: Sequence[Point], now: datetime
) -> float | None:
    if facets is None or facets.started_at is None:
        return None
    if facets.finished_at:
        took = (facets.finished_at - facets.started_at).total_seconds()
        return facets.items_done / took if took > 0 else None
    if session.status != SessionStatus.RUNNING:
        return None
    if len(recent) >= LATELY:
        since = max(facets.started_at, now - RECENT)
        return sum(size for _, size in recent) / max((now - since).total_seconds(), 0.5)
    return facets.items_done / max((now - facets.started_at).total_seconds(), 0.5) or None


def _pace(session: AnalysisSession, rate: float | None, *, lately: bool) -> str:
    if rate is not None:
        return "Over the last minute" if lately else "On average while reading"
    if session.ended:
        return "Reading did not end"
    if session.status == SessionStatus.RUNNING:
        return "Known once the first batches are saved"
    return "Nothing is being read now"


def _time_left(
    session: AnalysisSession, rows: dict[str, StageProgress], rate: float | None, now: datetime
) -> TimeLeft:
    if session.ended:
        return TimeLeft(*_finished(session))
    if session.status != SessionStatus.RUNNING:
        return TimeLeft(session.get_status_display(), "What is saved stays saved.")
    seconds = _seconds_left(session, rows, rate, now)
    if seconds is None:
        return TimeLeft("Working out the time left")
    early, late = (now + timedelta(seconds=seconds * factor) for factor in RANGE)
    likely = now + timedelta(seconds=seconds)
    if seconds < 60:
        return TimeLeft("Less than a minute left", f"done near {_clock(likely)}")
    detail = f"done near {_clock(likely)}, could be {_clock(early)} to {_clock(late)}"
    return TimeLeft(f"About {figures.duration(seconds)} left", detail)


def _finished(session: AnalysisSession) -> tuple[str, str]:
    if session.started_at and session.finished_at:
        took = figures.duration(session.finished_at - session.started_at)
        return f"Ended after {took}", f"at {_clock(session.finished_at)}"
    return session.get_status_display(), ""


def _clock(moment: datetime) -> str:
    return f"{timezone.localtime(moment):%H:%M}"


def _seconds_left(
    session: AnalysisSession, rows: dict[str, StageProgress], rate: float | None, now: datetime
) -> float | None:
    """Reading at the present rate, then the rest; ``None`` while too little is known."""
    facets = rows.get("facets")
    if facets is None or not rate or facets.items_done < MIN_KNOWN * session.total:
        return None
    reading = session.total / rate
    after = max(AT_LEAST_AFTER, AFTER_READING * reading)
    if facets.finished_at is None:
        return (session.total - facets.items_done) / rate + after
    weights = [(step.weight, bool(rows[step.key].finished_at)) for step in plan.STAGES[2:]]
    left = sum(weight for weight, done in weights if not done) / sum(w for w, _ in weights)
    return max(1.0, after * left)


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
