"""Counters of an analysis and its stages. Everything here runs under the session's row lock."""

from __future__ import annotations

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from analyses import plan
from analyses.events import BatchSaved, ProgressMade, StageEnded
from analyses.models import AnalysisSession, Batch
from analyses.services.outlook import remember_outlook
from analyses.services.spending import count_spending
from analyses.services.status import locked
from core.events import publish
from core.models import WorkStatus

MOST_LOST_PREVIEWS = 2
"""After so many previews that stopped their workers no more are drawn."""


def count(session: AnalysisSession, batch: Batch, *, done: int, failed: int) -> None:
    """A batch is over: so many conversations read, so many failed."""
    if session.blocks:
        session.blocks = 0
        session.save(update_fields=["blocks"])
    if batch.stage == "facets":
        session.read_count += done
        session.failed_count += failed
        session.save(update_fields=["read_count", "failed_count"])
        publish(session.topic, BatchSaved(seq=batch.seq, state="saved", failed=failed))
        _ask_for_preview(session)
    move(session, batch.stage, done + failed)


def move(session: AnalysisSession, key: str, items: int) -> None:
    """One more batch of a stage is over, with so many conversations; the last one ends it."""
    stage = session.stages.get(key=key)
    stage.batches_done += 1
    stage.items_done = min(stage.items_total, stage.items_done + items)
    stage.started_at = stage.started_at or timezone.now()
    publish(
        session.topic,
        ProgressMade(stage=stage.key, done=stage.items_done, total=stage.items_total),
    )
    if stage.opened and stage.batches_done >= stage.batches_total:
        stage.items_done = stage.items_total
        stage.finished_at = timezone.now()
        count_spending(session)
        seconds = (stage.finished_at - stage.started_at).total_seconds()
        publish(session.topic, StageEnded(stage=stage.key, seconds=round(seconds, 2)))
    stage.save(update_fields=["batches_done", "items_done", "started_at", "finished_at"])


def leave_out(session: AnalysisSession, conversations: int) -> None:
    """Count conversations that were deleted before they were read: over, and nobody's fault."""
    if not conversations:
        return
    session.failed_count += conversations
    session.save(update_fields=["failed_count"])
    session.stages.filter(key="facets").update(items_done=F("items_done") + conversations)


def tell(batch: Batch, share: float) -> None:
    """Show how far a whole stage is: ``share`` from 0 to 1. Nothing when the claim is lost."""
    with transaction.atomic():
        session = locked(batch.session_id)
        mine = session.batches.filter(pk=batch.pk, fence=batch.fence, status=WorkStatus.LEASED)
        stage = session.stages.filter(key=batch.stage).first()
        if stage is None or not mine.exists() or stage.key in ("prepare", "facets"):
            return
        done = min(stage.items_total - 1, int(stage.items_total * share))
        if done > stage.items_done:
            session.stages.filter(pk=stage.pk).update(items_done=done)
            publish(
                session.topic,
                ProgressMade(stage=stage.key, done=done, total=stage.items_total),
            )
            remember_outlook(session)


def _ask_for_preview(session: AnalysisSession) -> None:
    """Have the provisional picture redrawn when enough more was read and none is on its way."""
    if session.read_count < plan.next_preview(session.previewed, session.total):
        return
    previews = session.batches.filter(stage=plan.PREVIEW)
    if previews.filter(status__in=(WorkStatus.PENDING, WorkStatus.LEASED)).exists():
        return
    if previews.filter(status=WorkStatus.QUARANTINED).count() >= MOST_LOST_PREVIEWS:
        return
    if session.clusters.filter(provisional=False).exists():  # a retry keeps the old picture
        return
    Batch.objects.create(
        session=session, stage=plan.PREVIEW, seq=previews.count(), last=session.total
    )
