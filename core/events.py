"""Publishing what changed. Only services and runners publish, inside the change's transaction."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, ClassVar

from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone
from pydantic import BaseModel, ConfigDict

from core.models import Event, Topic

NOTIFY_CHANNEL = "openclio_events"
"""PostgreSQL channel that wakes the tails of web processes."""


class LiveEvent(BaseModel):
    """Base of event payloads: typed, frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]


def publish(topic: str, *events: LiveEvent) -> int:
    """Append events to a topic and return the last number given.

    Must run inside the transaction of the change. The topic's row lock gives numbers in commit
    order without gaps, so a reader never skips a late commit.
    """
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("publish() belongs into a transaction.")
    row, _ = Topic.objects.get_or_create(name=topic)
    Topic.objects.filter(pk=row.pk).update(next_seq=F("next_seq") + len(events))
    row.refresh_from_db(fields=["next_seq"])
    first = row.next_seq - len(events)
    Event.objects.bulk_create(
        Event(topic=row, seq=first + index, kind=event.kind, payload=event.model_dump(mode="json"))
        for index, event in enumerate(events)
    )
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, %s)", [NOTIFY_CHANNEL, topic])
    return row.next_seq - 1


def last_seq(topic: str) -> int:
    """The number of the newest event of a topic; 0 when there is none."""
    row = Topic.objects.filter(name=topic).only("next_seq").first()
    return row.next_seq - 1 if row else 0


def news(topic: str, seq: int) -> tuple[int, frozenset[str]]:
    """The newest number of a topic and the kinds of all events after ``seq`` up to it."""
    newest = last_seq(topic)
    rows = Event.objects.filter(topic__name=topic, seq__gt=seq, seq__lte=newest)
    return newest, frozenset(rows.order_by().values_list("kind", flat=True).distinct())


def since(topic: str, seq: int, limit: int = 500) -> Iterable[dict[str, Any]]:
    """Events after ``seq``, oldest first, at most ``limit``."""
    rows = Event.objects.filter(topic__name=topic, seq__gt=seq).order_by("seq")[:limit]
    return [
        {"seq": row.seq, "kind": row.kind, "at": row.created_at, "payload": row.payload}
        for row in rows
    ]


KEEP_EVENTS = timedelta(days=14)
"""How long every event is kept."""

KEEP_NEWEST = 500
"""Events of a topic that are kept however old they are: what a page shows of its past."""

PRUNE_AT_ONCE = 5_000
"""Events deleted in one transaction, so that nobody waits for it."""

PRUNE_EVERY = 600.0
"""Seconds between looks for events to delete."""

_next_prune = 0.0


def is_pruned(topic: str, seq: int) -> bool:
    """Whether a reader that saw ``seq`` can no longer be told what it missed.

    True when events after it were deleted, and when it saw numbers that the topic has not given,
    as after a backup was restored: then only the whole page is right.
    """
    newest = last_seq(topic)
    if seq >= newest:
        return seq > newest
    kept = Event.objects.filter(topic__name=topic, seq__gt=seq, seq__lte=newest)
    return kept.count() < newest - seq


def prune(
    keep: timedelta = KEEP_EVENTS, newest: int = KEEP_NEWEST, most: int = PRUNE_AT_ONCE
) -> int:
    """Delete at most ``most`` events older than ``keep`` and not among the ``newest`` of their
    topic, oldest first; returns how many."""
    limit = timezone.now() - keep
    old = Event.objects.filter(created_at__lt=limit, seq__lt=F("topic__next_seq") - newest)
    found = list(old.order_by("pk").values_list("pk", flat=True)[:most])
    if found:
        Event.objects.filter(pk__in=found).delete()
    return len(found)


def tick() -> None:
    """Delete old events now and then; a large rest is left to the next look."""
    global _next_prune
    if time.monotonic() < _next_prune:
        return
    if prune() < PRUNE_AT_ONCE:
        _next_prune = time.monotonic() + PRUNE_EVERY
