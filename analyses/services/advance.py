"""The one function that moves an analysis on, and the one that saves a finished batch.

Both run under the session's row lock, so counters, events and the opening of stages agree.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from django.db import transaction

from analyses import plan
from analyses.events import BatchSaved
from analyses.models import ENDED, AnalysisSession, Batch, Desired, SessionStatus
from analyses.services import blocks, quarantine, recovery
from analyses.services.outlook import remember_outlook
from analyses.services.progress import count
from analyses.services.spending import count_spending
from analyses.services.stages import open_stages
from analyses.services.status import locked, set_status
from core import work
from core.crashpoints import reach
from core.events import publish
from core.models import WorkStatus

__all__ = ["advance", "block", "give_up", "given_back", "locked", "saved", "set_status"]


def advance(session: AnalysisSession, *, reap: bool = True) -> None:
    """Bring a locked session to where its rows say it should be.

    In order: take back dead leases, stop, pause, unblock, open stages whose needs are met,
    finish. Idempotent: anybody may call it at any time. ``reap=False`` leaves dead leases to the
    next tick, for workers that save many batches a second.
    """
    if reap or session.desired != Desired.RUN:
        _reap(session)
    if session.status in ENDED:
        return
    if session.desired == Desired.CANCEL:
        _cancel(session)
    elif session.desired == Desired.PAUSE:
        _pause(session)
    elif _may_go_on(session, thorough=reap) and open_stages(session):
        _complete(session)


def _reap(session: AnalysisSession) -> None:
    taken = work.reap(session.batches.all(), tries=quarantine.tries)
    if not taken:
        return
    recovery.note(session, taken)
    for batch in taken:
        if batch.status == WorkStatus.QUARANTINED:
            quarantine.set_aside(session, batch)
            continue
        Batch.objects.filter(pk=batch.pk).update(retried=True)
        if batch.stage == "facets":
            publish(
                session.topic,
                BatchSaved(seq=batch.seq, state="retried", text="Its worker stopped; taken back."),
            )


def _cancel(session: AnalysisSession) -> None:
    """Stop; at once when nothing is leased any more."""
    work.shift(session.batches.all(), WorkStatus.PENDING, WorkStatus.CANCELLED)
    _wind_down(session, SessionStatus.CANCELLING, SessionStatus.CANCELLED)


def _pause(session: AnalysisSession) -> None:
    """Pause; at once when nothing is leased any more."""
    _wind_down(session, SessionStatus.PAUSING, SessionStatus.PAUSED, *_lost_stage(session))


def _wind_down(session: AnalysisSession, going: str, gone: str, *why: str) -> None:
    if not session.batches.filter(status=WorkStatus.LEASED).exists():
        set_status(session, gone, *why)
        return
    if session.status == SessionStatus.QUEUED:
        set_status(session, SessionStatus.RUNNING)
    if session.status != SessionStatus.PAUSED:  # whose last lease is gone, unless rows were forged
        set_status(session, going)


def _may_go_on(session: AnalysisSession, *, thorough: bool) -> bool:
    """Whether a session that shall run does; lifts a block whose cause is gone."""
    if session.status == SessionStatus.BLOCKED:
        if not blocks.heals(session):
            return False
        set_status(session, SessionStatus.QUEUED, retry_at=None)
    set_status(session, SessionStatus.RUNNING)
    obstacle = blocks.obstacle(session)
    if obstacle:
        blocks.hold(session, *obstacle)
        return False
    lost = _lost_stage(session) if thorough else ()
    if lost:
        set_status(session, SessionStatus.FAILED, *lost)
        return False
    return True


def _lost_stage(session: AnalysisSession) -> tuple[str, ...]:
    """Reason and sentence when a whole stage was quarantined, else nothing."""
    lost = session.batches.filter(status=WorkStatus.QUARANTINED, stage__in=quarantine.WHOLE).first()
    return ("stage", f"{plan.BY_KEY[lost.stage].label}: {lost.error}") if lost else ()


def _complete(session: AnalysisSession) -> None:
    count_spending(session)
    failed = session.failed_count
    if not failed:
        set_status(session, SessionStatus.COMPLETED)
        return
    noun = "conversation" if failed == 1 else "conversations"
    set_status(session, SessionStatus.PARTIAL, "skipped", f"{failed} {noun} could not be read.")


def saved(
    batch: Batch,
    write: Callable[[AnalysisSession], None],
    *,
    done: int,
    failed: int = 0,
) -> AnalysisSession:
    """Save a batch's results, counters and events in one transaction, and move on.

    ``write`` inserts the results. Raises :class:`core.work.LeaseLost` when the claim is no longer
    ours; then nothing of it stays.
    """
    reach("before_finish")
    with transaction.atomic():
        session = locked(batch.session_id)
        work.finish(batch, failed_items=failed)
        write(session)
        if batch.stage != plan.PREVIEW:
            count(session, batch, done=done, failed=failed)
        advance(session, reap=False)
        remember_outlook(session)
        reach("in_finish")
    reach("after_finish")
    return session


def given_back(batch: Batch, *, wait: timedelta | None = None) -> None:
    """Give a batch back untried, for instance on a pause, which then takes effect at once.

    Raises :class:`core.work.LeaseLost`.
    """
    with transaction.atomic():
        session = locked(batch.session_id)
        work.release(batch, wait=wait)
        if session.desired != Desired.RUN:
            advance(session, reap=False)


def give_up(batch: Batch, error: str) -> None:
    """Record a failed attempt of a batch; after the last one set it aside.

    Raises :class:`core.work.LeaseLost`.
    """
    with transaction.atomic():
        session = locked(batch.session_id)
        if work.fail(batch, error, tries=quarantine.tries(batch)):
            batch.refresh_from_db()
            quarantine.set_aside(session, batch)
        else:
            Batch.objects.filter(pk=batch.pk).update(retried=True)
        advance(session)


def block(
    session_id: int, error_class: str, message: str, retry_after: float | None = None
) -> None:
    """Stop issuing work until a person or time removes the cause.

    ``error_class`` is the gateway's, or a :class:`analyses.models.BlockReason`; ``retry_after``
    is in how many seconds a call may succeed again, if the gateway knows. What is being paused,
    stopped or over stays so.
    """
    with transaction.atomic():
        session = locked(session_id)
        if session.desired == Desired.RUN:
            blocks.hold(session, blocks.reason_of(error_class), message, retry_after)
