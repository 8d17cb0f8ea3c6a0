"""Analyses in batch mode: batches of conversations that wait for batches at a provider.

A worker waits for nothing: what is at the provider is put aside until the provider's batch is
over, which the tick notices. Read again then, the answers come out of the journal.
"""

from __future__ import annotations

from collections.abc import Collection

from django.db import transaction
from django.db.models import Exists, Max, OuterRef
from django.db.models.functions import Now

from analyses.events import BatchAway
from analyses.models import AnalysisSession, Batch, Desired
from analyses.services.advance import advance, locked
from core import work
from core.events import publish
from core.models import WorkStatus
from providers.models import BulkState, ProviderBatch
from providers.services.bulk import open_batches, refuse_batches


def put_aside(batch: Batch, uids: Collection[str]) -> None:
    """Give a batch back untried until the provider's batches it waits for are over.

    Its time to wait is theirs to the microsecond, which is how :func:`take_up` knows it. Raises
    :class:`core.work.LeaseLost`.
    """
    with transaction.atomic():
        session = locked(batch.session_id)
        work.release(batch)
        # Under the lock: a batch that ends now is either seen here, or sees this one.
        waited = open_batches().filter(uid__in=uids, analysis_id=session.pk)
        until = waited.aggregate(until=Max("expires_at"))["until"]
        known = session.batches.filter(not_before=until).exists()
        Batch.objects.filter(pk=batch.pk).update(not_before=until)
        if until is not None and not known:
            text = "Conversations were handed to the provider in a batch, at half the price."
            publish(session.topic, BatchAway(text=text))
        if session.desired != Desired.RUN:
            advance(session, reap=False)


def take_up() -> int:
    """Let batches go on whose provider batch is over, and have batches cancelled that nobody
    waits for; returns how many go on. For the tick."""
    over = ProviderBatch.objects.filter(
        analysis_id=OuterRef("session_id"),
        expires_at=OuterRef("not_before"),
        state__in=(BulkState.ENDED, BulkState.LOST),
    )
    waiting = Batch.objects.filter(
        stage="facets", status=WorkStatus.PENDING, not_before__gt=Now()
    ).filter(Exists(over))
    count = 0
    for pk in set(waiting.order_by().values_list("session", flat=True)):
        with transaction.atomic():
            session = locked(pk)
            taken = waiting.filter(session=pk).update(not_before=None)
            if taken:
                text = "A batch at the provider is over; what it answered is being read."
                publish(session.topic, BatchAway(over=True, text=text))
        count += taken
    _refuse_orphans()
    return count


def _refuse_orphans() -> None:
    """Batches of analyses that were stopped or deleted."""
    kept = AnalysisSession.objects.exclude(desired=Desired.CANCEL).filter(
        pk=OuterRef("analysis_id")
    )
    orphans = open_batches().exclude(analysis_id=None).filter(~Exists(kept))
    ids = set(orphans.order_by().values_list("analysis_id", flat=True))
    if ids:
        refuse_batches(ids)
