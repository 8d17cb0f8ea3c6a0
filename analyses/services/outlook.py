"""Keeping the end that was told, so that it never runs backwards without a reason."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Avg
from django.utils import timezone

from analyses.models import AnalysisSession, SessionStatus
from analyses.selectors.outlook import (
    Outlook,
    next_outlook,
    rate_of,
    recent_batches,
    seconds_left,
)
from core import figures
from core.models import Event
from providers.models import CallState, LlmAttempt, LlmCall

EVERY = timedelta(seconds=2)
"""The range is told anew no more often."""
LATEST = 40
"""Calls from which the present time of an answer is taken."""
GAP = timedelta(seconds=5)
"""Only after such a silence it is looked up whether the analysis stood still."""
LEAST_DIFFERENCE = 0.1
"""Seconds of an answer that nobody would notice."""
SLOWER = 1.2
"""An answer that takes this much longer or shorter explains a move."""
STILL = frozenset({SessionStatus.PAUSED, SessionStatus.PAUSING, SessionStatus.BLOCKED})


def remember_outlook(session: AnalysisSession, now: datetime | None = None) -> None:
    """Tell the end of a running analysis anew; call it under the session's row lock.

    Writes at most every two seconds. Two queries and a write; up to four more when the range
    moves.
    """
    now = now or timezone.now()
    old = Outlook.from_json(session.outlook)
    if session.status != SessionStatus.RUNNING or (old and now - old.at < EVERY):
        return
    if old is not None:
        old = _moved_by_standing(session, old, now)
        session.outlook = old.to_json()
    rows = {row.key: row for row in session.stages.all()}
    facets = rows.get("facets")
    reading = facets is not None and facets.finished_at is None
    recent = recent_batches(session, now) if reading else []
    seconds = seconds_left(session, rows, rate_of(session, facets, recent, now), now)
    if seconds is None:
        return
    done = sum(row.items_done for row in rows.values())

    def why(later: bool) -> tuple[str, float | None]:
        return _why(session, old, later, done)

    session.outlook = next_outlook(old, seconds, now, done, why).to_json()
    session.save(update_fields=["outlook"])


def _why(
    session: AnalysisSession, old: Outlook | None, later: bool, done: int
) -> tuple[str, float | None]:
    """Why the end moved, in words, and how long an answer takes now in seconds."""
    latency = _latency(session)
    if old is None:
        return "", latency
    reasons = (
        _again(old, done) if later else "",
        _limited(session, old) if later else "",
        _answers(old.latency, latency, later),
    )
    usual = "it goes slower than before" if later else "it goes faster than before"
    return next((reason for reason in reasons if reason), usual), latency


def _latency(session: AnalysisSession) -> float | None:
    """Seconds an answer takes now."""
    latest = (
        LlmCall.objects.filter(analysis_id=session.pk, state=CallState.OK, latency_ms__gt=0)
        .order_by("-pk")
        .values("latency_ms")[:LATEST]
    )
    mean = LlmCall.objects.filter(pk__in=latest.values("pk")).aggregate(mean=Avg("latency_ms"))
    return mean["mean"] / 1000 if mean["mean"] else None


def _moved_by_standing(session: AnalysisSession, old: Outlook, now: datetime) -> Outlook:
    """The old range, later by what the analysis stood still since it was told."""
    if now - old.at < GAP:
        return old
    rows = Event.objects.filter(
        topic__name=session.topic, kind="status", created_at__gte=old.at
    ).order_by("seq")
    since: datetime | None = None
    away, word = timedelta(), "paused"
    for status, at in rows.values_list("payload__status", "created_at"):
        if status in STILL:
            since = since or at
            word = "blocked" if status == SessionStatus.BLOCKED else word
        elif since is not None:
            away, since = away + (at - since), None
    return old.after_standing(away, word, now) if away else old


def _again(old: Outlook, done: int) -> str:
    fewer = old.done - done
    if fewer <= 0:
        return ""
    verb = "is" if fewer == 1 else "are"
    return f"{figures.count_of(fewer, 'conversation')} {verb} read again"


def _limited(session: AnalysisSession, old: Outlook) -> str:
    refused = LlmAttempt.objects.filter(
        call__analysis_id=session.pk, error_class="rate_limit", created_at__gte=old.at
    )
    return "the provider limits the rate" if refused.exists() else ""


def _answers(before: float | None, now: float | None, later: bool) -> str:
    """How long answers take, where that explains the direction of the move."""
    if not before or not now:
        return ""
    ratio = now / before
    if abs(now - before) < LEAST_DIFFERENCE:
        return ""
    if later and ratio >= SLOWER:
        return f"slower answers: {figures.duration(now)} instead of {figures.duration(before)}"
    if not later and ratio <= 1 / SLOWER:
        return f"faster answers: {figures.duration(now)} instead of {figures.duration(before)}"
    return ""
