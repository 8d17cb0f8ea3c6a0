"""Leased work: claim, renew, finish, release, reap.

The queue only wakes workers; these conditional UPDATEs are the truth. All times are the database's
own clock inside the statement, so clocks of hosts never matter. Every write of results names the
``fence`` of its claim: a worker that lost its lease hits no row and must roll back.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cache
from typing import TypeVar

import psutil
from django.db import connection, models, transaction
from django.db.models import DateTimeField, ExpressionWrapper, F, Q, Value
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now

from core.crashpoints import reach
from core.models import LeasedWork, WorkStatus

Work = TypeVar("Work", bound=LeasedWork)

LEASE = timedelta(seconds=30)
"""How long a claim lasts without renewal."""

RENEW_EVERY = 6.0
"""Seconds between renewals; four may fail before the lease ends."""

MAX_ATTEMPTS = 3
"""Claims of one piece of work that may die before it is set aside, where nobody says otherwise."""

LONGEST_WAIT = timedelta(seconds=10)
"""The most that work waits after a death: a storm that lasts longer is no accident."""

EDGES: Mapping[str, frozenset[str]] = {
    WorkStatus.PENDING: frozenset({WorkStatus.LEASED, WorkStatus.CANCELLED}),
    WorkStatus.LEASED: frozenset({WorkStatus.DONE, WorkStatus.PENDING, WorkStatus.QUARANTINED}),
    WorkStatus.QUARANTINED: frozenset({WorkStatus.PENDING}),
    WorkStatus.DONE: frozenset(),
    WorkStatus.CANCELLED: frozenset(),
}
"""The state machine of leased work: from each status to those that may follow it."""


class IllegalEdge(Exception):
    """A change of status that leased work does not have."""


class LeaseLost(Exception):
    """Somebody else holds the work now; roll back and stop."""


def shift(rows: models.QuerySet[Work], old: str, new: str, **values: object) -> int:
    """Change the status of those of ``rows`` that are ``old``; returns how many were.

    The one place where the status of leased work is written. Raises :class:`IllegalEdge`.
    """
    if new not in EDGES[old]:
        raise IllegalEdge(f"There is no edge from {old!r} to {new!r}.")
    return rows.filter(status=old).update(status=new, **values)


def from_now(delta: timedelta) -> ExpressionWrapper[CombinedExpression]:
    """The database's clock plus ``delta``."""
    return ExpressionWrapper(Now() + Value(delta), output_field=DateTimeField())


@cache
def _process_identity(pid: int) -> str:
    started = int(psutil.Process(pid).create_time() * 100)
    return f"{socket.gethostname()}:{pid}:{started}"


def owner_name() -> str:
    """This process as ``host:pid:start``, so that others can tell whether it still lives."""
    return _process_identity(os.getpid())


def owner_is_dead(owner: str) -> bool:
    """Whether ``owner`` was a process of this host that is certainly gone."""
    host, _, rest = owner.partition(":")
    pid, _, started = rest.partition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        process = psutil.Process(int(pid))
        same = str(int(process.create_time() * 100)) == started
        return not same or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def claimable(rows: models.QuerySet[Work]) -> models.QuerySet[Work]:
    """Those of ``rows`` that wait and need not wait longer, by the database's clock."""
    return rows.filter(status=WorkStatus.PENDING).filter(
        Q(not_before__isnull=True) | Q(not_before__lte=Now())
    )


def claim(candidates: models.QuerySet[Work], *, owner: str) -> Work | None:
    """Take the first claimable row of ``candidates`` (in their order), or ``None``.

    The row comes back leased, with its new fence and attempt.
    """
    ready = claimable(candidates)
    with transaction.atomic():
        if connection.features.has_select_for_update_skip_locked:
            ready = ready.select_for_update(skip_locked=True, of=("self",))
        row = ready.first()
        if row is None:
            return None
        taken = shift(
            type(row)._default_manager.filter(pk=row.pk, fence=row.fence),
            WorkStatus.PENDING,
            WorkStatus.LEASED,
            fence=F("fence") + 1,
            attempt=F("attempt") + 1,
            owner=owner,
            lease_until=from_now(LEASE),
        )
        if not taken:
            return None
    row.refresh_from_db()
    return row


def renew(model: type[LeasedWork], held: dict[int, int]) -> set[int]:
    """Prolong the leases of ``{pk: fence}``; returns the primary keys that were lost."""
    lost = set()
    for pk, fence in held.items():
        kept = model._default_manager.filter(pk=pk, fence=fence, status=WorkStatus.LEASED).update(
            lease_until=from_now(LEASE)
        )
        if not kept:
            lost.add(pk)
    return lost


def finish(work: LeasedWork, **values: object) -> None:
    """Mark leased work done, inside the caller's transaction that writes its results.

    Raises :class:`LeaseLost` when the fence no longer fits; the transaction must then roll back.
    """
    _leave(work, status=WorkStatus.DONE, finished_at=Now(), error="", **values)


def release(work: LeasedWork, *, wait: timedelta | None = None) -> None:
    """Give work back untried: the attempt does not count (pause, drain)."""
    reach("before_release")
    _leave(
        work,
        status=WorkStatus.PENDING,
        attempt=F("attempt") - 1,
        not_before=from_now(wait) if wait else None,
    )


def wait_after(attempt: int) -> timedelta | None:
    """How long work waits whose worker died at this attempt: none for the first deaths, which are
    accidents, then twice as long each time."""
    if attempt < MAX_ATTEMPTS:
        return None
    return min(LONGEST_WAIT, timedelta(seconds=2 ** (attempt - MAX_ATTEMPTS + 1)))


def fail(
    work: LeasedWork,
    error: str,
    *,
    wait: timedelta = timedelta(seconds=2),
    tries: int | None = None,
) -> bool:
    """Record a failed attempt; returns whether the work is now quarantined.

    ``tries`` is how many deaths it may meet (:data:`MAX_ATTEMPTS`). A fault of its own weighs as
    much as a third of them: three set it aside, for it would most likely come again.
    """
    tries = MAX_ATTEMPTS if tries is None else tries
    weight = -(-tries // MAX_ATTEMPTS)
    counted = work.attempt - 1 + weight
    spent = counted >= tries
    _leave(
        work,
        status=WorkStatus.QUARANTINED if spent else WorkStatus.PENDING,
        attempt=counted,
        error=error[:2000],
        not_before=None if spent else from_now(wait),
    )
    return spent


def _leave(work: LeasedWork, *, status: str, **values: object) -> None:
    """Leave the leased state, if the fence still fits."""
    mine = type(work)._default_manager.filter(pk=work.pk, fence=work.fence)
    if not shift(mine, WorkStatus.LEASED, status, owner="", lease_until=None, **values):
        raise LeaseLost(f"{type(work).__name__} {work.pk} fence {work.fence}")


def reap(
    leased: models.QuerySet[Work], *, tries: Callable[[Work], int] | None = None
) -> list[Work]:
    """Take back expired leases and those of dead processes of this host.

    Rows go back to waiting (see :func:`wait_after`), or to quarantine after as many deaths as
    ``tries`` allows each, by default :data:`MAX_ATTEMPTS`; the fence grows, so that a late owner
    cannot write. Returns the rows taken back with their new state; ``owner`` still names who held
    them.
    """
    model = leased.model
    taken: list[Work] = []
    rows = list(leased.filter(status=WorkStatus.LEASED))
    if not rows:
        return taken
    expired = set(
        model._default_manager.filter(
            pk__in=[row.pk for row in rows], lease_until__lt=Now()
        ).values_list("pk", flat=True)
    )
    for row in rows:
        if row.pk not in expired and not owner_is_dead(row.owner):
            continue
        spent = row.attempt >= (tries(row) if tries else MAX_ATTEMPTS)
        wait = None if spent else wait_after(row.attempt)
        changed = shift(
            model._default_manager.filter(pk=row.pk, fence=row.fence),
            WorkStatus.LEASED,
            WorkStatus.QUARANTINED if spent else WorkStatus.PENDING,
            fence=F("fence") + 1,
            owner="",
            lease_until=None,
            not_before=from_now(wait) if wait else None,
            error=f"The worker stopped {row.attempt} times." if spent else row.error,
        )
        if changed:
            owner = row.owner
            row.refresh_from_db()
            row.owner = owner
            taken.append(row)
    return taken
