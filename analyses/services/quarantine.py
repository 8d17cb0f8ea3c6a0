"""Batches that stop their workers: halved until the one conversation is found, then set aside."""

from __future__ import annotations

from django.db.models import F, Max

from analyses import plan
from analyses.events import BatchSaved
from analyses.models import AnalysisItem, AnalysisSession, Batch, Outcome
from analyses.selectors.asked import places_of
from analyses.services.progress import count, move
from core import work
from core.events import publish
from core.models import WorkStatus
from core.text import clean
from projects.models import Conversation

SUSPECT = work.MAX_ATTEMPTS - 1
"""A batch that died so often is worked on alone, so that the blame for another death is exact."""

RANGED = tuple(step.key for step in plan.STAGES if step.ranged)

WHOLE = tuple(step.key for step in plan.STAGES if not step.ranged)

STAGE_TRIES = 8
"""Workers that a stage on the whole analysis may lose before the analysis fails. It cannot be
halved to find whose fault it is, and to fail costs a person's attention, so it gets more tries
than a batch; the last of them are half a minute apart in all (``work.wait_after``)."""


def tries(batch: Batch) -> int:
    """How many workers a batch may lose before it is set aside."""
    return STAGE_TRIES if batch.stage in WHOLE else work.MAX_ATTEMPTS


def set_aside(session: AnalysisSession, batch: Batch) -> None:
    """Deal with a batch that was just quarantined.

    A range is halved, down to one conversation, which is skipped. A whole stage fails the
    analysis (see ``advance``); a preview is given up.
    """
    if batch.stage not in RANGED:
        return
    if batch.last - batch.first > 1:
        _halve(session, batch)
    else:
        _skip(session, batch)


def _halve(session: AnalysisSession, batch: Batch) -> None:
    """Both halves stay suspects: the next death halves again. Answers in the journal are free."""
    middle = (batch.first + batch.last) // 2
    row = session.batches.filter(pk=batch.pk)
    work.shift(
        row,
        WorkStatus.QUARANTINED,
        WorkStatus.PENDING,
        attempt=SUSPECT,
        last=middle,
        not_before=None,
        retried=True,
    )
    Batch.objects.create(
        session=session,
        stage=batch.stage,
        seq=next_seq(session),
        first=middle,
        last=batch.last,
        attempt=SUSPECT,
        error=batch.error,
        retried=True,
    )
    later = RANGED[RANGED.index(batch.stage) :]  # a prepared range makes a batch to read
    session.stages.filter(key__in=later).update(batches_total=F("batches_total") + 1)
    publish(
        session.topic,
        BatchSaved(
            seq=batch.seq,
            state="split",
            text="It stopped its worker three times and is tried again in halves.",
        ),
    )


def next_seq(session: AnalysisSession) -> int:
    """A number that no ranged batch has; a prepared range hands its own on to reading."""
    ranged = session.batches.filter(stage__in=RANGED)
    highest = ranged.aggregate(top=Max("seq"))["top"]
    return 0 if highest is None else int(highest) + 1


def _skip(session: AnalysisSession, batch: Batch) -> None:
    error = f"It could not be worked on: {batch.error}"[:300]
    if batch.stage == "prepare":
        skipped = _skip_unprepared(session, batch, error)
        session.failed_count += skipped
        session.save(update_fields=["failed_count"])
        count(session, batch, done=0, failed=skipped)
        move(session, "facets", skipped)
    else:
        inside = session.items.filter(position__gte=batch.first, position__lt=batch.last)
        skipped = inside.filter(outcome=Outcome.WAITING).update(
            outcome=Outcome.FAILED, error_class="worker", error=error
        )
        count(session, batch, done=0, failed=skipped)
    if skipped:
        publish(session.topic, BatchSaved(seq=batch.seq, state="skipped", text=_named(batch)))


def _named(batch: Batch) -> str:
    row = Conversation.objects.filter(
        dataset=batch.session.dataset_id,
        position__in=places_of(batch.session, batch.first, batch.first + 1),
    ).first()
    name = f" ({clean(row.external_id)[:80]})" if row else ""
    return f"Conversation {batch.first + 1}{name} was set aside. {batch.error}"[:400]


def _skip_unprepared(session: AnalysisSession, batch: Batch, error: str) -> int:
    """Give an outcome to conversations that were never prepared; returns how many."""
    own = places_of(session, batch.first, batch.last)
    rows = Conversation.objects.filter(dataset=session.dataset_id, position__in=own)
    made = AnalysisItem.objects.bulk_create(
        AnalysisItem(
            session=session,
            conversation_id=pk,
            position=own[position],
            outcome=Outcome.FAILED,
            error_class="worker",
            error=error,
        )
        for pk, position in rows.values_list("pk", "position")
    )
    return len(made)
