"""Trying failed conversations again, and going on with other models."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from types import EllipsisType

from django.db import transaction
from django.db.models import F, QuerySet

from accounts.models import Role, User
from accounts.services import audit, require
from analyses import plan, states
from analyses.models import (
    AnalysisItem,
    AnalysisSession,
    Batch,
    Desired,
    ModelChange,
    Outcome,
    SessionStatus,
)
from analyses.selectors import mapdata
from analyses.selectors.batches import HOPELESS
from analyses.selectors.comparisons import agreement_with
from analyses.services import blocks
from analyses.services.advance import advance, locked, set_status
from analyses.services.deployments import check_deployments
from analyses.services.pumps import wake_pumps
from analyses.services.quarantine import RANGED, SUSPECT, next_seq
from analyses.services.stages import after, take_back
from core import work
from core.errors import Conflict, Invalid
from core.models import WorkStatus
from providers.models import ModelDeployment

OPEN = (WorkStatus.PENDING, WorkStatus.LEASED)
CHUNK = 1000
"""Rows changed by one statement: databases bound its parameters."""
RETRIES = states.RETRYABLE | {
    SessionStatus.RUNNING,
    SessionStatus.PAUSED,
    SessionStatus.BLOCKED,
}
CHANGES = states.RETRYABLE | {SessionStatus.PAUSED, SessionStatus.BLOCKED}


def conflict(session: AnalysisSession, why: str) -> Conflict:
    """A refusal that carries the current state: ``state`` its key, ``word`` its word."""
    return Conflict(why=why, state=session.status, word=session.get_status_display())


def retry_failed(
    *, actor: User, session: AnalysisSession, positions: Sequence[int] | None = None
) -> AnalysisSession:
    """Read again what failed, and only that; everything read stays.

    With ``positions`` only these conversations of it, by their place in the analysis; the others
    stay failed.

    Stages after reading are done again over all conversations, and what they made before stays
    visible until it is replaced. Calls that were answered before cost nothing. An analysis that
    had ended goes on at once, a paused one when it is resumed. Raises ``Forbidden`` below the
    role Analyst, ``Conflict`` when there is nothing to try again and ``Invalid`` for a position
    that did not fail or that another try cannot help.
    """
    require(actor, session.project.workspace, Role.ANALYST)
    with transaction.atomic():
        row = locked(session.pk)
        if row.status not in RETRIES or row.desired == Desired.CANCEL:
            word = row.get_status_display().lower()
            raise conflict(row, f"The analysis is {word}; nothing can be tried again.")
        reopened = _reopen_failed(row, _chosen(row, positions))
        lost = reopen_lost(row) if positions is None else 0
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
    """Give whole stages that were set aside all their tries anew; returns how many there are."""
    lost = session.batches.exclude(stage__in=RANGED).exclude(stage=plan.PREVIEW)
    return work.shift(
        lost, WorkStatus.QUARANTINED, WorkStatus.PENDING, attempt=0, not_before=None, error=""
    )


def _chosen(session: AnalysisSession, positions: Sequence[int] | None) -> frozenset[int] | None:
    """The positions asked for, each of which must have failed; ``None`` for all that failed."""
    if positions is None:
        return None
    chosen = frozenset(positions)
    wrong = sorted(chosen.difference(_retryable(session).values_list("position", flat=True)))
    if wrong:
        text = f"No conversation failed at {wrong[0]} that could be tried again."
        raise Invalid(fields={"positions": text})
    if not chosen:
        raise Invalid(fields={"positions": "No conversation failed that could be tried again."})
    return chosen


def _retryable(session: AnalysisSession) -> QuerySet[AnalysisItem]:
    """Conversations that failed and that another try may help."""
    failed = session.items.filter(outcome=Outcome.FAILED)
    return failed.exclude(error_class__in=HOPELESS)


def _reopen_failed(session: AnalysisSession, chosen: Collection[int] | None) -> int:
    """Put failed conversations back to waiting, in batches; returns how many there are."""
    if session.clusters.filter(provisional=False).exists():
        mapdata.keep(session)
    reopened = _reopen_unprepared(session, chosen)
    again = _reopen_quarantined(session, chosen)
    failed = dict(_retryable(session).order_by("position").values_list("position", "pk"))
    positions = [spot for spot in failed if chosen is None or spot in chosen]
    fresh = [spot for spot in positions if not _inside(spot, again)]
    rows = _batches(session, fresh, failed.keys() - set(positions))
    if positions:
        _wait([failed[spot] for spot in positions])
        Batch.objects.bulk_create(rows, batch_size=500)
    if positions or again:
        _reopen_stage(session, "facets", len(positions), new=len(rows), old=len(again))
    if reopened + len(positions):
        take_back(session, after(["facets"]))
        session.failed_count -= reopened + len(positions)
        session.errors_allowed = blocks.error_count(session)
        session.save(update_fields=["failed_count", "errors_allowed"])
    return reopened + len(positions)


def _wait(keys: Sequence[int]) -> None:
    for start in range(0, len(keys), CHUNK):
        rows = AnalysisItem.objects.filter(pk__in=keys[start : start + CHUNK])
        rows.update(outcome=Outcome.WAITING, error_class="", error="")


def _reopen_unprepared(session: AnalysisSession, chosen: Collection[int] | None) -> int:
    """Prepare again where preparing stopped its workers; returns how many conversations."""
    rows = _set_aside(session, "prepare", chosen)
    count = 0
    for batch in rows:
        count += (
            session.items.filter(position__gte=batch.first, position__lt=batch.last)
            .delete()[1]
            .get("analyses.AnalysisItem", 0)
        )
    if rows:
        _reopen_rows(session, rows)
        for key in RANGED:
            _reopen_stage(session, key, count, new=0, old=len(rows))
    return count


def _reopen_quarantined(
    session: AnalysisSession, chosen: Collection[int] | None
) -> list[tuple[int, int]]:
    """Reopen ranges on which reading stopped its workers; returns the ranges."""
    rows = _set_aside(session, "facets", chosen)
    _reopen_rows(session, rows)
    return [(row.first, row.last) for row in rows]


def _set_aside(session: AnalysisSession, key: str, chosen: Collection[int] | None) -> list[Batch]:
    """Batches of a ranged stage that stopped their workers: of one conversation each."""
    rows = session.batches.filter(stage=key, status=WorkStatus.QUARANTINED).order_by("first")
    return [row for row in rows if chosen is None or row.first in chosen]


def _reopen_rows(session: AnalysisSession, rows: Iterable[Batch]) -> None:
    """They stay suspects: worked on alone, and another death sets them aside again."""
    for row in rows:
        work.shift(
            session.batches.filter(pk=row.pk),
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


def _batches(session: AnalysisSession, positions: list[int], left: Collection[int]) -> list[Batch]:
    """New batches over failed conversations. Their ranges may contain conversations that were
    read, which stay as they are, but none that another open batch will read, and none of those
    ``left`` failed: a later retry gives them a batch of their own."""
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
        for number, group in enumerate(_groups(session, positions, left))
    ]


def _groups(
    session: AnalysisSession, positions: list[int], left: Collection[int]
) -> Iterator[list[int]]:
    size = plan.batch_size(session.total)
    rows = session.batches.filter(stage__in=RANGED, status__in=OPEN)
    between = sorted({*rows.values_list("first", flat=True), *left})
    group: list[int] = []
    for spot in positions:
        if group and (
            len(group) == size or bisect_left(between, group[-1]) != bisect_left(between, spot)
        ):
            yield group
            group = []
        group.append(spot)
    if group:
        yield group


def reader_name(session: AnalysisSession) -> str:
    """Who reads by a model chosen by name or as the first of the order, in words."""
    return str(session.chat) if session.chat else "Local engine"


def _record(actor: User, session: AnalysisSession, before: str) -> None:
    """Keep on the analysis that another model reads from here on, and how far it was known to
    agree with the one before."""
    after = reader_name(session)
    if after != before:
        ModelChange.objects.create(
            session=session,
            before=before[:210],
            after=after[:210],
            position=session.read_count + session.failed_count,
            agreement=agreement_with(session, session.chat_id),
            changed_by=actor,
        )


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
    resumed or retried, with all that was read before. A model chosen by hand replaces the
    workspace's order. Raises ``Forbidden`` below the role
    Analyst, ``Conflict`` in other states, ``Invalid`` for models that ``start_session`` refuses.
    """
    require(actor, session.project.workspace, Role.ANALYST)
    given = {"chat": chat, "embedding": embedding, "fallback": fallback}
    with transaction.atomic():
        row = locked(session.pk)
        if row.status not in CHANGES or row.desired == Desired.CANCEL:
            raise conflict(row, "Pause the analysis before you change its models.")
        before = reader_name(row)
        for name, value in given.items():
            if not isinstance(value, EllipsisType):
                setattr(row, name, value)
        check_deployments(row.project, row.chat, row.embedding, row.fallback)
        row.blocks = 0
        chosen = chat is not ... or fallback is not ...
        row.params = plan.without_routes(row.params, chat=chosen, vectors=embedding is not ...)
        row.save(update_fields=[*given, "blocks", "params"])
        _record(actor, row, before)
        audit(
            workspace=row.project.workspace,
            actor=actor,
            action="analysis.providers_changed",
            obj=row,
            **{name: str(getattr(row, name) or "") for name in given},
        )
    return row
