"""Waking workers. A wake-up is a hint: losing or doubling one is harmless."""

from __future__ import annotations

import socket
from datetime import timedelta

from django.conf import settings
from django.db.models.functions import Now
from django.utils import timezone

from core import q2
from core.models import Beat
from core.work import owner_is_dead

PUMP = "analyses.tasks.pump"
BEAT = "pump:"
FRESH = timedelta(seconds=8)


def wake_pumps() -> None:
    """Queue as many wake-ups as this host has idle workers. Call it inside the transaction.

    Other hosts are not counted: each fills its own at the next tick of its supervisor. What waits
    in the queue is for everybody, so however many ask, no more waits than one host can take.
    """
    missing = settings.WORKERS - live_pumps() - q2.waiting()
    for _ in range(missing):
        q2.wake(PUMP)


def live_pumps() -> int:
    """How many workers of this host hold a pump now, by their beats."""
    here = f"{BEAT}{socket.gethostname()}:"
    fresh = Beat.objects.filter(name__startswith=here, beat_at__gte=timezone.now() - FRESH)
    return sum(not owner_is_dead(beat.name.removeprefix(BEAT)) for beat in fresh)


def beat(owner: str) -> None:
    """A pump shows that it works."""
    Beat.objects.update_or_create(name=f"{BEAT}{owner}", defaults={"beat_at": Now()})


def still(owner: str) -> None:
    """A pump has ended; beats of pumps long gone are swept as well."""
    Beat.objects.filter(name=f"{BEAT}{owner}").delete()
    old = timezone.now() - timedelta(hours=1)
    Beat.objects.filter(name__startswith=BEAT, beat_at__lt=old).delete()
