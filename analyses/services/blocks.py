"""Blocks: why an analysis waits, for how long, and when it goes on by itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import timedelta

from django.db.models import F, Q
from django.db.models.functions import Now

from analyses import plan
from analyses.models import AnalysisSession, BlockReason, Outcome, SessionStatus
from analyses.selectors.batches import HOPELESS
from analyses.selectors.scopes import spend_scopes, use_scopes
from analyses.services.status import set_status
from core import disks
from core.work import from_now
from providers.selectors.use import use_room
from providers.services import room

REASON_OF: Mapping[str, BlockReason] = {
    "auth": BlockReason.KEY,
    "permission": BlockReason.KEY,
    "not_found": BlockReason.KEY,
    "quota": BlockReason.QUOTA,
    "budget": BlockReason.BUDGET,
}
"""Reasons by the gateway's class of error; every other class means that no provider answers."""

WAITS: Mapping[str, tuple[float, float]] = {
    BlockReason.PROVIDER: (10, 120),
    BlockReason.QUOTA: (60, 900),
    BlockReason.DISK: (10, 10),
    BlockReason.BUDGET: (10, 900),
    BlockReason.UPGRADE: (10, 120),
}
"""Seconds until the first new try, and the most. Other reasons wait for a person."""

SHORTEST, LONGEST = 1.0, 120.0
"""Bounds in seconds of a wait that the gateway told: a provider may ask for any."""

GROWTH, JITTER = 1.5, 0.1
"""Each block in a row waits this much longer, give or take a share."""

ERROR_SHARE, ERROR_COUNT = 0.05, 20
"""Failed conversations beyond these, of all seen and in number, stop an analysis."""


def reason_of(error_class: str) -> BlockReason:
    """The reason for a class of error; a reason stands for itself."""
    if error_class in BlockReason.values:
        return BlockReason(error_class)
    return REASON_OF.get(error_class, BlockReason.PROVIDER)


def wait_of(reason: str, blocks: int) -> timedelta | None:
    """How long a block lasts that follows ``blocks`` others; ``None``: until a person acts."""
    if reason not in WAITS:
        return None
    first, most = WAITS[reason]
    jitter = 1 + random.uniform(-JITTER, JITTER)  # noqa: S311 - spreads retries, no secret
    return timedelta(seconds=min(most, first * GROWTH ** min(blocks, 30)) * jitter)


def told(reason: str, retry_after: float | None) -> timedelta | None:
    """How long a provider is left alone that is tried again in ``retry_after`` seconds."""
    if reason != BlockReason.PROVIDER or retry_after is None:
        return None
    return timedelta(seconds=min(max(retry_after, SHORTEST), LONGEST))


def hold(
    session: AnalysisSession, reason: str, detail: str, retry_after: float | None = None
) -> None:
    """Block a locked session that runs. Another reason replaces the one it had.

    ``retry_after``: in how many seconds the gateway tries a model of the route again. The
    analysis waits just as long, instead of by a guess of its own.
    """
    if session.status == SessionStatus.QUEUED:
        set_status(session, SessionStatus.RUNNING)
    if session.status not in (SessionStatus.RUNNING, SessionStatus.BLOCKED):
        return
    if (session.status, session.reason) == (SessionStatus.BLOCKED, reason):
        return
    wait = told(reason, retry_after) or wait_of(reason, session.blocks)
    set_status(
        session,
        SessionStatus.BLOCKED,
        reason,
        detail,
        retry_at=from_now(wait) if wait else None,
        blocks=F("blocks") + 1,
    )


def heals(session: AnalysisSession) -> bool:
    """Whether a blocked session may go on by itself now, by the database's clock."""
    if session.reason not in WAITS:
        return False
    row = AnalysisSession.objects.filter(pk=session.pk)
    if not row.filter(Q(retry_at=None) | Q(retry_at__lte=Now())).exists():
        return False
    if GONE.get(session.reason, _try_again)(session):
        return True
    wait = wait_of(session.reason, session.blocks)
    if wait:
        row.update(retry_at=from_now(wait))
        session.refresh_from_db(fields=["retry_at"])
    return False


def _try_again(session: AnalysisSession) -> bool:
    """Only a try can tell whether a provider answers again."""
    return True


def _has_room(session: AnalysisSession) -> bool:
    return disks.has_room()


def _may_spend(session: AnalysisSession) -> bool:
    return room(spend_scopes(session)) and use_room(use_scopes(session))


def _knows(session: AnalysisSession) -> bool:
    return session.pipeline_version in plan.KNOWN_VERSIONS


GONE: Mapping[str, Callable[[AnalysisSession], bool]] = {
    BlockReason.DISK: _has_room,
    BlockReason.BUDGET: _may_spend,
    BlockReason.UPGRADE: _knows,
}
"""Whether the cause is gone, where it can be looked up."""


def obstacle(session: AnalysisSession) -> tuple[str, str] | None:
    """What forbids a running session to go on, with a sentence about it."""
    if not _knows(session):
        return (
            BlockReason.UPGRADE,
            "It was started with another version of OpenClio and goes on when that one works.",
        )
    if not _has_room(session):
        return (
            BlockReason.DISK,
            "The server's disk is almost full. It goes on by itself when there is room again.",
        )
    errors = error_count(session) - session.errors_allowed
    seen = session.read_count + session.failed_count
    if errors >= ERROR_COUNT and errors > ERROR_SHARE * seen:
        return (
            BlockReason.ERRORS,
            f"{errors} of {seen} conversations failed. Look at the reasons, then resume to go on "
            "without them.",
        )
    return None


def error_count(session: AnalysisSession) -> int:
    """Failed conversations, without those that were left out."""
    if session.failed_count < ERROR_COUNT:
        return session.failed_count
    failed = session.items.filter(outcome=Outcome.FAILED)
    return failed.exclude(error_class__in=HOPELESS).count()
