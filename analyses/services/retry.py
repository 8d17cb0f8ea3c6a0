"""Trying failed conversations again, and going on with other models."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from types import EllipsisType

from django.db import transaction
from django.db.models import F

from accounts.models import Role, User
from accounts.services import audit, require
from analyses import plan, states
from analyses.models import AnalysisSession, Batch, Desired, Outcome, SessionStatus
from analyses.selectors import mapdata
from analyses.services import blocks
from analyses.services.advance import advance, locked, set_status
from analyses.services.deployments import check_deployments
from analyses.services.pumps import wake_pumps
from analyses.services.quarantine import RANGED, SUSPECT, next_seq
from analyses.services.stages import after, take_back
from core import work
from core.errors import Conflict
from core.models import WorkStatus
from providers.models import ModelDeployment

OPEN = (WorkStatus.PENDING, WorkStatus.LEASED)
RETRIES = states.RETRYABLE | {
    SessionStatus.RUNNING,
    SessionStatus.PAUSED,
    SessionStatus.BLOCKED,
}
CHANGES = states.RETRYABLE | {SessionStatus.PAUSED, SessionStatus.BLOCKED}


def conflict(session: AnalysisSession, why: str) -> Conflict:
    """A refusal that carries the current state: ``state`` its key, ``word`` its word."""
    return Conflict(why=why, state=session.status, word=session.get_status_display())


def retry_failed(*, actor: User, session: AnalysisSession) -> AnalysisSession:
    """Read again what failed, and only that; everything read stays.

    Stages after reading are done again over all conversations, and what they made before stays
    visible until it is replaced. Calls that were answered before cost nothing. An analysis that
    had ended goes on at once, a paused one when it is resumed. Raises ``Forbidden`` below the
    role Analyst and ``Conflict`` when there is nothing to try again.
    """
    require(actor, session.project.workspace, Role.ANALYST)
    with transaction.atomic():
        row = locked(session.pk)
        if row.status not in RETRIES or row.desired == Desired.CANCEL:
            word = row.get_status_display().lower()
            raise conflict(row, f"The analysis is {word}; nothing can be tried again.")
        reopened = _reopen_failed(row)
        lost = reopen_lost(row)
        if not reopened and not lost:
            raise conflict(row, "No conversation failed that could be tried again.")
        if row.status in states.RETRYABLE:
            AnalysisSession.objects.filter(pk=row.pk).update(desired=Desired.RUN, blocks=0)
            row.refresh_from_db(fields=["desired", "blocks"])
            set_status(row, SessionStatus.QUEUED)
        advance(row)
        audit(
            workspace=row.project.workspace,
            actor=actor,
            action="analysis.retried",
            obj=row,
            conversations=reopened,
        )
        wake_pumps()
    return row


def reopen_lost(session: AnalysisSession) -> int:
    """Give whole stages that were set aside three new tries; returns how many there are."""
    lost = session.batches.exclude(stage__in=RANGED).exclude(stage=plan.PREVIEW)
    return work.shift(
        lost, WorkStatus.QUARANTINED, WorkStatus.PENDING, attempt=0, not_before=None, error=""
    )


def _reopen_failed(session: AnalysisSession) -> int:
    """Put failed conversations back to waiting, in batches; returns how many there are."""
    if session.clusters.filter(provisional=False).exists():
        mapdata.keep(session)
    reopened = _reopen_unprepared(session)
    failed = session.items.filter(outcome=Outcome.FAILED).exclude(error_class="empty")
    again = _reopen_quarantined(session)
    positions = list(failed.order_by("position").values_list("position", flat=True))
    rows = _batches(session, [spot for spot in positions if not _inside(spot, again)])
    if positions:
        failed.update(outcome=Outcome.WAITING, error_class="", error="")
        Batch.objects.bulk_create(rows, batch_size=500)
    if positions or again:
        _reopen_stage(session, "facets", len(positions), new=len(rows), old=len(again))
    if reopened + len(positions):
        take_back(session, after(["facets"]))
        session.failed_count -= reopened + len(positions)
        session.errors_allowed = blocks.error_count(session)
        session.save(update_fields=["failed_count", "errors_allowed"])
    return reopened + len(positions)


def _reopen_unprepared(session: AnalysisSession) -> int:
    """Prepare again where preparing stopped its workers; returns how many conversations."""
    rows = list(session.batches.filter(stage="prepare", status=WorkStatus.QUARANTINED))
    count = 0
    for batch in rows:
        count += (
            session.items.filter(position__gte=batch.first, position__lt=batch.last)
            .delete()[1]
            .get("analyses.AnalysisItem", 0)
        )
    if rows:
        _reopen_rows(session, "prepare")
        for key in RANGED:
            _reopen_stage(session, key, count, new=0, old=len(rows))
    return count


def _reopen_quarantined(session: AnalysisSession) -> list[tuple[int, int]]:
    """Reopen ranges on which reading stopped its workers; returns the ranges."""
    rows = session.batches.filter(stage="facets", status=WorkStatus.QUARANTINED)
    ranges = sorted(rows.values_list("first", "last"))
    _reopen_rows(session, "facets")
    return ranges


def _reopen_rows(session: AnalysisSession, key: str) -> None:
    """They stay suspects: worked on alone, and another death sets them aside again."""
    work.shift(
        session.batches.filter(stage=key),
        WorkStatus.QUARANTINED,
        WorkStatus.PENDING,
        attempt=SUSPECT,
        not_before=None,
    )


def _reopen_stage(session: AnalysisSession, key: str, items: int, *, new: int, old: int) -> None:
    session.stages.filter(key=key).update(
        items_done=F("items_done") - items,
        batches_total=F("batches_total") + new,
        batches_done=F("batches_done") - old,
        finished_at=None,
    )


def _inside(position: int, ranges: Iterable[tuple[int, int]]) -> bool:
    return any(first <= position < last for first, last in ranges)


def _batches(session: AnalysisSession, positions: list[int]) -> list[Batch]:
    """New batches over failed conversations. Their ranges may contain conversations that were
    read, which stay as they are, but none that another open batch will read."""
    seq = next_seq(session)
    return [
        Batch(
            session=session,
            stage="facets",
            seq=seq + number,
            first=group[0],
            last=group[-1] + 1,
            retried=True,
        )
        for number, group in enumerate(_groups(session, positions))
    ]


def _groups(session: AnalysisSession, positions: list[int]) -> Iterator[list[int]]:
    size = plan.batch_size(session.total)
    rows = session.batches.filter(stage__in=RANGED, status__in=OPEN)
    starts = sorted(rows.values_list("first", flat=True))
    group: list[int] = []
    for spot in positions:
        if group and (
            len(group) == size or bisect_left(starts, group[-1]) != bisect_left(starts, spot)
        ):
            yield group
            group = []
        group.append(spot)
    if group:
        yield group


def change_providers(
    *,
    actor: User,
    session: AnalysisSession,
    chat: ModelDeployment | EllipsisType | None = ...,
    embedding: ModelDeployment | EllipsisType | None = ...,
    fallback: ModelDeployment | EllipsisType | None = ...,
) -> AnalysisSession:
    """Have an analysis go on with other models; ``...`` keeps one, ``None`` is the local engine
    (for ``fallback``: none).

    Possible while it is paused, blocked, failed or complete in part; it goes on when it is
    resumed or retried, with all that was read before. Raises ``Forbidden`` below the role
    Analyst, ``Conflict`` in other states, ``Invalid`` for models that ``start_session`` refuses.
    """
    require(actor, session.project.workspace, Role.ANALYST)
    given = {"chat": chat, "embedding": embedding, "fallback": fallback}
    with transaction.atomic():
        row = locked(session.pk)
        if row.status not in CHANGES or row.desired == Desired.CANCEL:
            raise conflict(row, "Pause the analysis before you change its models.")
        for name, value in given.items():
            if not isinstance(value, EllipsisType):
                setattr(row, name, value)
        check_deployments(row.project, row.chat, row.embedding, row.fallback)
        row.blocks = 0
        row.save(update_fields=[*given, "blocks"])
        audit(
            workspace=row.project.workspace,
            actor=actor,
            action="analysis.providers_changed",
            obj=row,
            **{name: str(getattr(row, name) or "") for name in given},
        )
    return row
