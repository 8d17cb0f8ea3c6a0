"""What happened in an analysis, in sentences, newest first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from analyses import plan
from analyses.models import AnalysisSession, Insight, SessionStatus
from core import figures
from core.models import Event

MAX_NEWS = 60
KINDS = ("status", "stage", "batches", "away", "recovery", "budget", "clusters", "insights")


@dataclass(frozen=True, slots=True)
class News:
    """One entry of the event feed. ``tone`` is a (news), o (good), w (warning) or b (bad)."""

    seq: int
    icon: str
    tone: str
    text: str
    at: datetime


Words = tuple[str, str, str]

STATUS: dict[str, Words] = {
    SessionStatus.QUEUED: ("clock", "", "Waiting for a free worker."),
    SessionStatus.RUNNING: ("player-play", "a", "Reading began or went on."),
    SessionStatus.PAUSING: ("player-pause", "w", "Pausing: calls under way are finished first."),
    SessionStatus.PAUSED: ("player-pause", "w", "Paused. What is saved stays saved."),
    SessionStatus.BLOCKED: ("hand-stop", "b", "Blocked."),
    SessionStatus.CANCELLING: ("square", "", "Stopping."),
    SessionStatus.CANCELLED: ("square", "", "Stopped. What is saved stays yours."),
    SessionStatus.COMPLETED: ("check", "o", "Complete."),
    SessionStatus.PARTIAL: ("alert-triangle", "w", "Complete in part."),
    SessionStatus.FAILED: ("alert-circle", "b", "Failed."),
}


def news_of(session: AnalysisSession) -> list[News]:
    """The latest events worth telling. One query."""
    rows = Event.objects.filter(topic__name=session.topic, kind__in=KINDS).order_by("-seq")
    found = []
    for row in rows[: MAX_NEWS * 2]:
        words = WORDING[row.kind](row.payload)
        if words:
            found.append(News(row.seq, *words, at=row.created_at))
    return found[:MAX_NEWS]


def _status(payload: Mapping[str, Any]) -> Words | None:
    icon, tone, text = STATUS.get(payload.get("status", ""), ("activity-heartbeat", "", ""))
    detail = str(payload.get("text", ""))
    return (icon, tone, f"{text} {detail}".strip()) if text else None


def _stage(payload: Mapping[str, Any]) -> Words | None:
    step = plan.BY_KEY.get(payload.get("stage", ""))
    if step is None:
        return None
    return "check", "o", f"{step.label} done in {figures.duration(payload.get('seconds'))}."


def _batch(payload: Mapping[str, Any]) -> Words | None:
    """Saved batches are in the strip; only what went wrong is news."""
    name = f"Batch {int(payload.get('seq', 0)) + 1}"
    failed, text = int(payload.get("failed", 0)), str(payload.get("text", ""))
    if failed:
        return "alert-triangle", "w", f"{name}: {figures.count_of(failed, 'conversation')} skipped."
    if payload.get("state") == "saved":
        return None
    return "refresh", "w", f"{name}: {text or 'taken back and tried again.'}"


def _away(payload: Mapping[str, Any]) -> Words | None:
    icon, tone = ("player-play", "o") if payload.get("over") else ("clock", "a")
    return icon, tone, str(payload.get("text", ""))


def _clusters(payload: Mapping[str, Any]) -> Words | None:
    groups = figures.count_of(int(payload.get("clusters", 0)), "cluster")
    read = figures.count_of(int(payload.get("conversations", 0)), "conversation")
    if payload.get("provisional"):
        return "affiliate", "a", f"{groups} so far, from {read}."
    return "affiliate", "o", f"{groups} named and arranged, from {read}."


def _insights(payload: Mapping[str, Any]) -> Words | None:
    return "bulb", "o", f"{figures.count_of(int(payload.get('count', 0)), 'insight')} found."


def _recovery(payload: Mapping[str, Any]) -> Words | None:
    return "refresh", "w", str(payload.get("text", ""))


def _budget(payload: Mapping[str, Any]) -> Words | None:
    return "alert-triangle", "w", f"A limit is nearly reached: {payload.get('text', '')}."


WORDING: dict[str, Callable[[Mapping[str, Any]], Words | None]] = {
    "status": _status,
    "stage": _stage,
    "batches": _batch,
    "away": _away,
    "recovery": _recovery,
    "budget": _budget,
    "clusters": _clusters,
    "insights": _insights,
}


INSIGHT_SIGNS = {
    "rise": ("trending-up", "a"),
    "new": ("sparkles", "o"),
    "concern": ("alert-triangle", "b"),
    "facet": ("chart-dots", "a"),
    "language": ("language", "w"),
    "resolution": ("flag", "w"),
}


def insights_of(session: AnalysisSession, limit: int | None = None) -> list[Insight]:
    """The insights by rank; those about a withheld group are left out. One query."""
    rows = session.insights.select_related("cluster").exclude(cluster__shown=False)
    return list(rows[:limit] if limit else rows)
