"""Opening the stages of an analysis, and taking them back to be done again."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import F, Max
from django.utils import timezone

from analyses import plan
from analyses.models import AnalysisSession, Batch, StageProgress
from core import work
from core.crashpoints import reach
from core.models import WorkStatus


def open_stages(session: AnalysisSession) -> bool:
    """Open every stage whose needs have finished; returns whether all have.

    A stage that the analysis was not laid out with counts as finished.
    """
    stages = {stage.key: stage for stage in session.stages.all()}
    finished = {
        step.key
        for step in plan.STAGES
        if step.key not in stages or stages[step.key].finished_at is not None
    }
    for step in plan.STAGES:
        stage = stages.get(step.key)
        if stage and not stage.opened and finished.issuperset(step.needs):
            _open(session, stage)
    return len(finished) == len(plan.STAGES)


def _open(session: AnalysisSession, stage: StageProgress) -> None:
    """Insert the batch of a stage that works on everything at once."""
    if session.previewed:
        previews = session.batches.filter(stage=plan.PREVIEW)
        work.shift(previews, WorkStatus.PENDING, WorkStatus.CANCELLED)
    before = session.batches.filter(stage=stage.key).aggregate(top=Max("seq"))["top"]
    Batch.objects.create(
        session=session,
        stage=stage.key,
        seq=0 if before is None else before + 1,
        first=0,
        last=session.total,
    )
    stage.opened, stage.batches_total = True, 1
    stage.started_at = stage.started_at or timezone.now()
    stage.save(update_fields=["opened", "batches_total", "started_at"])
    reach("after_stage_open")


def after(keys: Iterable[str]) -> list[str]:
    """The stages that need one of ``keys``, directly or not, in their order."""
    stale = set(keys)
    found = []
    for step in plan.STAGES:
        if stale.intersection(step.needs):
            stale.add(step.key)
            found.append(step.key)
    return found


def take_back(session: AnalysisSession, keys: Iterable[str]) -> None:
    """Have whole stages done again when their needs are met; what they made stays until replaced.

    Whoever works on one of them now loses the claim.
    """
    keys = [key for key in keys if not plan.BY_KEY[key].ranged]
    batches = session.batches.filter(stage__in=keys)
    work.shift(
        batches,
        WorkStatus.LEASED,
        WorkStatus.PENDING,
        fence=F("fence") + 1,
        owner="",
        lease_until=None,
    )
    work.shift(batches, WorkStatus.QUARANTINED, WorkStatus.PENDING)
    work.shift(batches, WorkStatus.PENDING, WorkStatus.CANCELLED)
    session.stages.filter(key__in=keys).update(
        opened=False,
        batches_total=0,
        batches_done=0,
        items_done=0,
        started_at=None,
        finished_at=None,
    )
