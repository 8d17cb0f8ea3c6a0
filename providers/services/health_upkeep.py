"""What supervisors look after: resting models that nobody calls, and old rows of health."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from core.q2 import wake
from core.work import from_now
from providers.models import (
    BreakerState,
    DeploymentHealth,
    HealthChange,
    HealthSlot,
    Member,
    ProviderKind,
)

TASK = "providers.tasks.probe_deployment"

IDLE = timedelta(seconds=15)
"""A rest that has been over for so long, and still nobody tried the model: nobody calls it."""

MOST_PROBES = 10
"""Trials queued at one look."""

AGAIN = 60.0
"""Seconds before the same trial is queued again, should the queue have lost it."""

KEEP_SLOTS = timedelta(days=8)
KEEP_MEMBERS = timedelta(hours=1)
KEEP_CHANGES = timedelta(days=90)
"""How long what was counted, who called, and what happened is kept."""

FOLD_AFTER = timedelta(minutes=20)
"""Counts so old are added up: nobody writes them any more."""

FOLDED = ""
"""The owner of counts of all processes."""

AT_ONCE = 2_000
"""Rows added up or deleted in one transaction, so that nobody waits for it."""

PRUNE_EVERY = 300.0
"""Seconds between looks for old rows."""

_next_prune = 0.0
_queued: dict[int, float] = {}


def tick() -> None:
    """Entry for the supervisors: every few seconds, on every host."""
    global _next_prune
    idle_probes()
    if time.monotonic() < _next_prune:
        return
    if fold_slots() + prune() < AT_ONCE:
        _next_prune = time.monotonic() + PRUNE_EVERY


def idle_probes() -> int:
    """Have resting models tried that traffic does not try; returns how many were queued.

    Real calls try a model when its rest is over. One that stands behind another in every route,
    or whose analyses are paused, sees none. Its trial is a task that makes a one-token call of
    the same model: lists of models stay green in outages. Nothing is called from here.
    """
    over = Q(state=BreakerState.OPEN, retry_at__lte=from_now(-IDLE))
    lapsed = Q(state=BreakerState.HALF_OPEN, probe_until__lte=from_now(-IDLE))
    rows = DeploymentHealth.objects.filter(
        over | lapsed, deployment__retired=False, deployment__provider__enabled=True
    ).exclude(deployment__provider__kind=ProviderKind.LOCAL)
    now = time.monotonic()
    for pk in [pk for pk, until in _queued.items() if until <= now]:
        del _queued[pk]
    waiting = rows.exclude(deployment__in=list(_queued)).order_by("retry_at")
    found = list(waiting.values_list("deployment_id", flat=True)[:MOST_PROBES])
    for pk in found:
        wake(TASK, pk)
        _queued[pk] = now + AGAIN
    return len(found)


def prune() -> int:
    """Delete old rows, at most :data:`AT_ONCE` of each sort; returns how many."""
    return (
        _delete(HealthSlot.objects.filter(start__lt=from_now(-KEEP_SLOTS)))
        + _delete(Member.objects.filter(seen_at__lt=from_now(-KEEP_MEMBERS)))
        + _delete(HealthChange.objects.filter(created_at__lt=from_now(-KEEP_CHANGES)))
    )


def _delete(rows: QuerySet[HealthSlot] | QuerySet[Member] | QuerySet[HealthChange]) -> int:
    found = list(rows.order_by("pk").values_list("pk", flat=True)[:AT_ONCE])
    if found:
        rows.model._default_manager.filter(pk__in=found).delete()
    return len(found)


@transaction.atomic
def fold_slots() -> int:
    """Add up what processes counted into one row for a model and half an hour; returns how many
    rows that made unnecessary. Pages then read 48 rows a day, however many processes there are."""
    old = HealthSlot.objects.filter(start__lt=from_now(-FOLD_AFTER)).exclude(owner=FOLDED)
    skip = connection.features.has_select_for_update_skip_locked
    rows = list(old.select_for_update(skip_locked=skip).order_by("pk")[:AT_ONCE])
    groups: dict[tuple[int, datetime], list[HealthSlot]] = defaultdict(list)
    for row in rows:
        groups[row.deployment_id, half_hour(row.start)].append(row)
    for (deployment, start), parts in sorted(groups.items()):
        _fold(deployment, start, parts)
    HealthSlot.objects.filter(pk__in=[row.pk for row in rows]).delete()
    return len(rows)


def _fold(deployment: int, start: datetime, parts: Sequence[HealthSlot]) -> None:
    key: dict[str, Any] = {"deployment_id": deployment, "start": start, "owner": FOLDED}
    HealthSlot.objects.get_or_create(**key)
    whole = HealthSlot.objects.select_for_update().get(**key)
    for part in parts:
        for name in ("answered", "slow", "failed", "recovered", "tokens"):
            setattr(whole, name, getattr(whole, name) + getattr(part, name))
        for cause, number in part.errors.items():
            whole.errors[cause] = whole.errors.get(cause, 0) + number
        whole.latencies += [0] * (len(part.latencies) - len(whole.latencies))
        for place, number in enumerate(part.latencies):
            whole.latencies[place] += number
    whole.save()


def half_hour(moment: datetime) -> datetime:
    """The half hour that a moment lies in."""
    return moment.replace(minute=moment.minute // 30 * 30, second=0, microsecond=0)
