"""The one function that writes an analysis's status, and the row lock it is written under."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from analyses import states
from analyses.events import StatusChanged
from analyses.models import ENDED, AnalysisSession, SessionStatus
from core.events import publish


def locked(session_id: int) -> AnalysisSession:
    """The session with its row lock held until the transaction ends."""
    return AnalysisSession.objects.select_for_update().get(pk=session_id)


def set_status(
    session: AnalysisSession, status: str, reason: str = "", detail: str = "", **values: Any
) -> None:
    """Write a status, or another reason for the same, with its event. Only ``advance`` calls it.

    No-op when nothing changes. ``values`` are further columns. Raises
    :class:`analyses.states.IllegalEdge` for an edge that the table does not have, and
    :class:`analyses.states.StatusMoved` when the row has left the status it was read with.
    """
    old, now = session.status, timezone.now()
    if (old, session.reason) == (status, reason):
        return
    if old != status:
        states.check(old, status)
    values |= {"status": status, "reason": reason, "detail": detail[:400]}
    values["finished_at"] = now if status in ENDED else None
    if status == SessionStatus.RUNNING and session.started_at is None:
        values["started_at"] = now
    if not AnalysisSession.objects.filter(pk=session.pk, status=old).update(**values):
        raise states.StatusMoved(f"Analysis {session.pk} is no longer {old!r}.")
    session.refresh_from_db(fields=list(values))
    publish(session.topic, StatusChanged(status=status, reason=reason, text=session.detail))
