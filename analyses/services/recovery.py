"""What is told when work of a worker that stopped is taken back: kept, repeated, its cost."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_UP, Decimal

from django.db.models import Q, Sum
from django.utils import timezone

from analyses.events import Recovered
from analyses.models import AnalysisSession, Batch, Outcome
from core import figures
from core.events import publish
from core.models import WorkStatus
from providers.models import CallState, LlmAttempt, LlmCall
from providers.services.lost import LOST

CENT = Decimal("0.01")
"""What a bound is rounded up to, so that it stays one."""


def note(session: AnalysisSession, taken: Sequence[Batch]) -> None:
    """Write the recovery notice of a locked session for batches just taken back.

    Each batch's ``owner`` names the worker that held it. Answers that had arrived are in the
    journal and are not paid again; calls of that worker that are still out are in doubt, with
    the most they may cost in US dollars.
    """
    calls, cost = _doubt(session, {batch.owner for batch in taken})
    found = {
        "at": timezone.now().isoformat(),
        "kept_batches": session.batches.filter(stage="facets", status=WorkStatus.DONE).count(),
        "kept_conversations": session.read_count,
        "repeated_batches": len(taken),
        "repeated_conversations": _repeated(session, taken),
        "doubt_calls": calls,
        "doubt_cost": str(cost),
    }
    found["text"] = sentence(found)
    session.recovery = found
    session.recoveries += 1
    session.save(update_fields=["recovery", "recoveries"])
    publish(session.topic, Recovered(**{key: found[key] for key in Recovered.model_fields}))


def _doubt(session: AnalysisSession, owners: set[str]) -> tuple[int, Decimal]:
    """Calls of these workers that were cut off, and the most that they may cost."""
    calls = LlmCall.objects.filter(analysis_id=session.pk, owner__in=owners)
    # Without those that timed out before: their doubt is no news.
    out = calls.filter(Q(state=CallState.SENT) | Q(state=CallState.DOUBT, error_class=LOST))
    reserved = out.filter(state=CallState.SENT).aggregate(sum=Sum("reserved"))["sum"]
    sends = LlmAttempt.objects.filter(
        call__in=out, in_doubt=True, error_class=LOST, owner__in=owners
    )
    estimated = sends.aggregate(sum=Sum("cost"))["sum"]
    return out.count(), (reserved or Decimal(0)) + (estimated or Decimal(0))


def _repeated(session: AnalysisSession, taken: Sequence[Batch]) -> int:
    """Conversations of the batches that have no outcome yet."""
    unread = Q(pk__in=[])
    unprepared = 0
    for batch in taken:
        if batch.stage == "facets":
            unread |= Q(position__gte=batch.first, position__lt=batch.last)
        elif batch.stage == "prepare":
            unprepared += batch.last - batch.first
    waiting = session.items.filter(unread, outcome=Outcome.WAITING)
    return unprepared + waiting.count()


def sentence(found: dict[str, object]) -> str:
    """The notice in words: what happened, what is kept, what is repeated, what it costs."""
    kept = figures.count_of(_int(found["kept_conversations"]), "conversation")
    again = _int(found["repeated_conversations"])
    repeated = figures.count_of(again, "conversation") if again else "One step"
    calls = _int(found["doubt_calls"])
    cost = "Nothing is paid twice."
    if calls:
        most = Decimal(str(found["doubt_cost"]))
        cost = f"{figures.count_of(calls, 'call')} cut off on the way may be paid twice" + (
            f", at most {figures.money(most.quantize(CENT, ROUND_UP))}." if most else "."
        )
    verb = "is" if again <= 1 else "are"
    return f"A worker stopped. {kept} kept. {repeated} {verb} taken up again. {cost}"


def _int(value: object) -> int:
    return int(str(value))
