"""When an analysis will end, as a range that never runs backwards without a reason.

The range told last is kept on the analysis (``AnalysisSession.outlook``), so that a reload, a
restart and another web process tell the same. :mod:`analyses.services.outlook` writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from analyses import plan
from analyses.models import AnalysisSession, SessionStatus, StageProgress
from analyses.selectors.estimates import Estimate, stored
from core import figures
from core.models import WorkStatus

RECENT = timedelta(seconds=60)
LATELY = 3
"""Batches saved in the last minute from which on the rate is that of the last minute."""
AFTER_READING = 0.15
"""What follows reading takes about this share of the reading's own time …"""
AT_LEAST_AFTER = 6.0
"""… and never less than this many seconds."""
MIN_KNOWN = 0.02
"""Share of the conversations that must be read before a time is told."""
RANGE = (0.88, 1.3)
"""Early and late end of the time left, as factors; late is wider because retries only add."""
LEEWAY = 0.10
"""Share of the time left by which a new range may miss the old one and still be drawn into it."""
LEAST_LEEWAY = 5.0
"""Seconds that are never worth a word."""
WORDS_LAST = timedelta(minutes=2)
"""How long the reason of a move stays on the page."""
FIRM = 0.15
"""Share of the later stages that must be over before their own pace counts."""

Point = tuple[datetime, int]
Rows = Mapping[str, StageProgress]


@dataclass(frozen=True, slots=True)
class TimeLeft:
    """Time left in words; ``detail`` says when, with the range."""

    text: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Outlook:
    """The end as it was told.

    ``reason`` says why it moved last and ``moved`` when. ``done`` counts what was over then,
    ``latency`` is a call's seconds at the last move. The analysis stood still for ``still``
    seconds in all and went on at ``back`` the last time.
    """

    early: datetime
    likely: datetime
    late: datetime
    at: datetime
    reason: str = ""
    moved: datetime | None = None
    done: int = 0
    latency: float | None = None
    still: float = 0.0
    back: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """As stored on the analysis."""
        return {
            "early": self.early.isoformat(),
            "likely": self.likely.isoformat(),
            "late": self.late.isoformat(),
            "at": self.at.isoformat(),
            "reason": self.reason,
            "moved": self.moved.isoformat() if self.moved else None,
            "done": self.done,
            "latency": self.latency,
            "still": round(self.still, 1),
            "back": self.back.isoformat() if self.back else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self | None:
        """What :meth:`to_json` wrote; ``None`` while nothing was told."""
        try:
            early, likely, late, at = (
                _moment(data[key]) for key in ("early", "likely", "late", "at")
            )
            moved, back = (
                _moment(data[key]) if data.get(key) else None for key in ("moved", "back")
            )
        except (KeyError, TypeError, ValueError):
            return None
        return cls(
            early, likely, late, at, str(data.get("reason", "")), moved,
            int(data.get("done") or 0), data.get("latency"), float(data.get("still") or 0), back,
        )  # fmt: skip

    def after_standing(self, away: timedelta, word: str, now: datetime) -> Self:
        """The same range after the analysis stood still for so long: all of it later."""
        return replace(
            self,
            early=self.early + away,
            likely=self.likely + away,
            late=self.late + away,
            reason=f"{word} for {figures.duration(away)}",
            moved=now,
            still=self.still + away.total_seconds(),
            back=now,
        )


def _moment(text: str) -> datetime:
    found = parse_datetime(text)
    if found is None or found.tzinfo is None:
        raise ValueError(text)
    return found


# what is measured --------------------------------------------------------------------------------


def recent_batches(session: AnalysisSession, now: datetime) -> list[Point]:
    """When the latest batches were saved, and how many conversations each held. One query."""
    rows = session.batches.filter(
        stage="facets", status=WorkStatus.DONE, finished_at__gte=now - RECENT
    ).order_by("finished_at")
    values = rows.values_list("finished_at", "first", "last")
    return [(at, last - first) for at, first, last in values if at is not None]


def rate_of(
    session: AnalysisSession, facets: StageProgress | None, recent: Sequence[Point], now: datetime
) -> float | None:
    """Conversations a second: lately, else on average; ``None`` while nothing is read."""
    if facets is None or facets.started_at is None:
        return None
    if facets.finished_at:
        took = (facets.finished_at - facets.started_at).total_seconds()
        return facets.items_done / took if took > 0 else None
    if session.status != SessionStatus.RUNNING:
        return None
    told = Outlook.from_json(session.outlook)
    back = told.back if told and told.back else facets.started_at
    lately = [(at, size) for at, size in recent if at >= back]
    if len(lately) >= LATELY:
        since = max(facets.started_at, back, now - RECENT)
        return sum(size for _, size in lately) / max((now - since).total_seconds(), 0.5)
    still = told.still if told else 0.0
    worked = (now - facets.started_at).total_seconds() - still
    return facets.items_done / max(worked, 0.5) or None


def seconds_left(
    session: AnalysisSession, rows: Rows, rate: float | None, now: datetime
) -> float | None:
    """Reading at the present rate, then the rest; ``None`` while too little is known."""
    facets = rows.get("facets")
    if facets is None or not rate or facets.items_done < MIN_KNOWN * session.total:
        return None
    after = _after(session, session.total / rate)
    if facets.finished_at is None:
        return (session.total - facets.items_done) / rate + after
    over = _over(rows)
    elapsed = (now - facets.finished_at).total_seconds()
    if over >= FIRM and elapsed > 0:
        after = max(AT_LEAST_AFTER, elapsed / over)
    return max(1.0, after * (1 - over))


def _after(session: AnalysisSession, reading: float) -> float:
    """Seconds from the end of reading to the end: as estimated, else a share of reading."""
    expected = stored(session)
    if expected is not None and expected.after.likely:
        return max(AT_LEAST_AFTER, expected.after.likely)
    return max(AT_LEAST_AFTER, AFTER_READING * reading)


def _over(rows: Rows) -> float:
    """The share of the stages after reading that is over, by their usual times."""
    later = [step for step in plan.STAGES if not step.ranged]
    whole = sum(step.weight for step in later)
    return sum(step.weight * share_over(rows.get(step.key)) for step in later) / whole


def share_over(row: StageProgress | None) -> float:
    """How much of a stage is over, 0 to 1."""
    if row is None:
        return 0.0
    return 1.0 if row.finished_at else min(1.0, row.items_done / max(1, row.items_total))


# what is told ------------------------------------------------------------------------------------


def next_outlook(
    old: Outlook | None,
    seconds: float,
    now: datetime,
    done: int,
    why: Callable[[bool], tuple[str, float | None]],
) -> Outlook:
    """The range to tell after ``old``, given the seconds that are measured to be left.

    It is drawn into the old one, which therefore only narrows, unless it misses that by more than
    :data:`LEEWAY`; then it moves, with the reason and a call's present seconds from
    ``why(later)``.
    """
    early, late = (now + timedelta(seconds=seconds * factor) for factor in RANGE)
    likely = now + timedelta(seconds=seconds)
    if old is None:
        _, latency = why(False)
        return Outlook(early, likely, late, now, done=done, latency=latency)
    leeway = timedelta(seconds=max(LEAST_LEEWAY, LEEWAY * (old.late - now).total_seconds()))
    if old.early - leeway <= likely <= old.late + leeway:
        early, late = (min(max(end, old.early), old.late) for end in (early, late))
        likely = min(max(likely, early), late)
        return replace(old, early=early, likely=likely, late=late, at=now, done=done)
    reason, latency = why(likely > old.late)
    return replace(
        old, early=early, likely=likely, late=late, at=now, reason=reason, moved=now,
        done=done, latency=latency,
    )  # fmt: skip


def time_left(session: AnalysisSession, rows: Rows, rate: float | None, now: datetime) -> TimeLeft:
    """The time left in words: as it was told, as it is measured, or as it was estimated."""
    if session.ended:
        return TimeLeft(*_finished(session))
    if session.status != SessionStatus.RUNNING:
        return TimeLeft(session.get_status_display(), "What is saved stays saved.")
    told = Outlook.from_json(session.outlook)
    if told is not None:
        return _told(told, now)
    seconds = seconds_left(session, rows, rate, now)
    if seconds is not None:
        return _told(next_outlook(None, seconds, now, 0, lambda _: ("", None)), now)
    return _estimated(session, stored(session), now)


def _told(outlook: Outlook, now: datetime) -> TimeLeft:
    if outlook.late <= now:
        return TimeLeft("Taking longer than expected", f"was to end by {clock(outlook.late)}")
    words = _why_moved(outlook, now)
    seconds = (outlook.likely - now).total_seconds()
    if seconds < 60:
        return TimeLeft("Less than a minute left", f"done near {clock(outlook.likely)}{words}")
    detail = (
        f"done near {clock(outlook.likely)}, "
        f"could be {clock(outlook.early)} to {clock(outlook.late)}{words}"
    )
    return TimeLeft(f"About {figures.duration(seconds)} left", detail)


def _why_moved(outlook: Outlook, now: datetime) -> str:
    if not outlook.reason or outlook.moved is None or now - outlook.moved > WORDS_LAST:
        return ""
    return f". Changed: {outlook.reason}"


def _estimated(session: AnalysisSession, expected: Estimate | None, now: datetime) -> TimeLeft:
    """Before the first batches: the range of the estimate; words where there is none."""
    unknown = TimeLeft("Working out the time left")
    if expected is None or session.started_at is None:
        return unknown
    seconds = expected.seconds
    early, late = (
        session.started_at + timedelta(seconds=end) for end in (seconds.low, seconds.high)
    )
    if late <= now:
        return unknown
    return TimeLeft(
        "Working out the time left", f"estimated to end between {clock(early)} and {clock(late)}"
    )


def _finished(session: AnalysisSession) -> tuple[str, str]:
    if session.started_at and session.finished_at:
        took = figures.duration(session.finished_at - session.started_at)
        return f"Ended after {took}", f"at {clock(session.finished_at)}"
    return session.get_status_display(), ""


def clock(moment: datetime) -> str:
    """A time of today as 14:07, of another day with the day before it."""
    local = timezone.localtime(moment)
    today = timezone.localdate() == local.date()
    return f"{local:%H:%M}" if today else f"{local.day} {local:%B %H:%M}"
