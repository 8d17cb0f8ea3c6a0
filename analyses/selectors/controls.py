"""What can be pressed in which state: one place for the page, its notice and the key P."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from analyses.models import AnalysisSession, BlockReason, SessionStatus


@dataclass(frozen=True, slots=True)
class Control:
    """A button. ``post`` acts at once; ``ask`` opens the page or the dialog ``<act>-dialog``."""

    act: str
    label: str
    icon: str
    way: Literal["post", "ask"] = "post"
    tone: str = ""
    key: str = ""


PAUSE = Control("pause", "Pause", "player-pause", tone="pri", key="p")
RESUME = Control("resume", "Resume", "player-play", tone="pri", key="p")
TRY_NOW = Control("resume", "Try now", "refresh", tone="pri", key="p")
ANYWAY = Control("resume", "Resume anyway", "player-play", tone="pri", key="p")
AFTER_ALL = Control("resume", "Resume", "player-play", key="p")
STOP = Control("stop", "Stop", "square", way="ask", tone="danger")
RETRY = Control("retry", "Retry what failed", "refresh")
RETRY_FIRST = Control("retry", "Retry what failed", "refresh", tone="pri")
PROVIDERS = Control("providers", "Change provider", "switch-horizontal", way="ask")
LIMIT = Control("limit", "Raise the limit", "arrow-up", way="ask", tone="pri")

BY_STATE: dict[str, tuple[Control, ...]] = {
    SessionStatus.QUEUED: (PAUSE, STOP),
    SessionStatus.RUNNING: (PAUSE, STOP),
    SessionStatus.PAUSING: (RESUME, STOP),
    SessionStatus.PAUSED: (RESUME, PROVIDERS, STOP),
    SessionStatus.CANCELLING: (),
    SessionStatus.CANCELLED: (),
    SessionStatus.COMPLETED: (),
    SessionStatus.PARTIAL: (RETRY,),
    SessionStatus.FAILED: (RETRY_FIRST, PROVIDERS),
}
BY_REASON: dict[str, tuple[Control, ...]] = {
    BlockReason.BUDGET: (LIMIT, AFTER_ALL, STOP),
    BlockReason.QUOTA: (RESUME, PROVIDERS, STOP),
    BlockReason.KEY: (RESUME, PROVIDERS, STOP),
    BlockReason.PROVIDER: (TRY_NOW, PROVIDERS, STOP),
    BlockReason.DISK: (TRY_NOW, STOP),
    BlockReason.ERRORS: (ANYWAY, RETRY, PROVIDERS, STOP),
    BlockReason.UPGRADE: (TRY_NOW, STOP),
}
NEEDS_MODEL = frozenset({"providers", "limit"})
"""What makes no sense for the local engine."""


def controls_of(session: AnalysisSession) -> list[Control]:
    """The buttons of an analysis in its state, the main one first. No query."""
    if session.status == SessionStatus.BLOCKED:
        found = BY_REASON.get(session.reason, (RESUME, STOP))
    else:
        found = BY_STATE[session.status]
    return [one for one in found if session.chat_id or one.act not in NEEDS_MODEL]


def allows(session: AnalysisSession, act: str) -> bool:
    """Whether a button for this is offered now."""
    return any(one.act == act for one in controls_of(session))


def possible(session: AnalysisSession) -> str:
    """What can be done in the present state, as a sentence; empty when nothing can."""
    labels = [one.label.lower() for one in controls_of(session)]
    if not labels:
        return ""
    last = labels.pop()
    return f"You can {', '.join(labels)} or {last}." if labels else f"You can {last}."
