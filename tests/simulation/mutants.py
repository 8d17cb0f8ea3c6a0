"""Faults put into the product on purpose. A suite that does not find them finds nothing."""

from __future__ import annotations

import contextlib
import importlib
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from unittest.mock import patch

from django.db import transaction
from django.db.models import F

from analyses.models import AnalysisSession, Desired
from analyses.runner.worker import Worker
from core import events, work
from core.heartbeat import Heartbeat
from core.models import Event, LeasedWork, Topic, WorkStatus
from providers.gateway.breaker import Breaker
from providers.gateway.errors import ErrorClass, Fault, maybe_billed
from providers.gateway.retry import Attempts
from providers.models import CallState, LlmCall
from providers.runner import journal
from tests.simulation.standing_in import replaced

Mutant = Callable[[], contextlib.AbstractContextManager[object]]


@contextlib.contextmanager
def no_fence_on_finish() -> Iterator[None]:
    """Whoever comes last writes: neither fence nor lease is looked at."""

    def leave(item: LeasedWork, *, status: str, **values: object) -> None:
        rows = type(item)._default_manager.filter(pk=item.pk)
        rows.update(status=status, owner="", lease_until=None, **values)

    with patch.object(work, "_leave", leave):
        yield


@contextlib.contextmanager
def no_reap_while_stopping() -> Iterator[None]:
    """Leases of dead workers are taken back only while the analysis shall run."""
    advance = importlib.import_module("analyses.services.advance")
    reap = advance._reap

    def picky(session: AnalysisSession) -> None:
        if session.desired == Desired.RUN:
            reap(session)

    with patch.object(advance, "_reap", picky):
        yield


@contextlib.contextmanager
def attempt_counted_at_finish() -> Iterator[None]:
    """Only a worker that lives to tell has tried: claims do not count, failures do."""
    claim, fail, leave = work.claim, work.fail, work._leave

    def uncounted(candidates: Any, *, owner: str) -> Any:
        row = claim(candidates, owner=owner)
        if row is not None:
            type(row)._default_manager.filter(pk=row.pk).update(attempt=F("attempt") - 1)
            row.refresh_from_db()
        return row

    def release(item: LeasedWork, *, wait: timedelta | None = None) -> None:
        later = work.from_now(wait) if wait else None
        leave(item, status=WorkStatus.PENDING, not_before=later)

    def counted(item: LeasedWork, error: str, **options: Any) -> bool:
        item.attempt += 1
        type(item)._default_manager.filter(pk=item.pk).update(attempt=item.attempt)
        return fail(item, error, **options)

    with replaced(claim, uncounted), replaced(work.release, release), replaced(fail, counted):
        yield


@contextlib.contextmanager
def event_outside_the_transaction() -> Iterator[None]:
    """The change is committed first and told afterwards."""
    publish = events.publish

    def later(topic: str, *told: Any) -> int:
        def tell() -> None:
            with transaction.atomic():
                publish(topic, *told)

        transaction.on_commit(tell)
        return 0

    with replaced(publish, later):
        yield


@contextlib.contextmanager
def numbers_from_a_sequence() -> Iterator[None]:
    """Events are numbered by a sequence, which does not go back with its transaction."""
    sequences: dict[str, Iterator[int]] = defaultdict(lambda: itertools.count(1))

    def publish(topic: str, *told: Any) -> int:
        row, _ = Topic.objects.get_or_create(name=topic)
        number = 0
        for event in told:
            number = next(sequences[topic])
            Event.objects.create(
                topic=row, seq=number, kind=event.kind, payload=event.model_dump(mode="json")
            )
        Topic.objects.filter(pk=row.pk).update(next_seq=number + 1)
        return number

    with replaced(events.publish, publish):
        yield


@contextlib.contextmanager
def no_self_fence() -> Iterator[None]:
    """A worker that slept past its leases goes on as if nothing had happened."""
    always = property(lambda heart: True)
    with contextlib.ExitStack() as undo:
        for name in ("safe", "renewing", "holding"):
            if hasattr(Heartbeat, name):
                undo.enter_context(patch.object(Heartbeat, name, always))
        yield


@contextlib.contextmanager
def pause_between_batches_only() -> Iterator[None]:
    """A pause is noticed when the next batch is claimed, not before; a stop is, as ever."""
    standings = Worker._standings

    def late(self: Worker, held: set[int]) -> Any:
        found = standings(self, held)
        paused = AnalysisSession.objects.filter(pk__in=found, desired=Desired.PAUSE)
        for pk in paused.values_list("pk", flat=True):
            found[pk] = replace(found[pk], goes=True, share=2)
        return found

    with patch.object(Worker, "_standings", late):
        yield


@contextlib.contextmanager
def reservation_not_freed() -> Iterator[None]:
    """An answer is booked, but what was set aside for it stays set aside."""

    def release(self: Any, call: LlmCall) -> Decimal:
        held, call.reserved = call.reserved, Decimal(0)
        return held

    with patch.object(journal._Group, "_release", release):
        yield


@contextlib.contextmanager
def sent_ignored() -> Iterator[None]:
    """What somebody else asked a moment ago is asked, and paid, again."""
    with patch.object(journal, "is_lost", lambda *_: True):
        yield


@contextlib.contextmanager
def lost_without_doubt() -> Iterator[None]:
    """A call whose asker died is asked again as if it had never left."""

    def lose(self: Any, call: LlmCall) -> None:
        self._release(call)
        call.state = CallState.FAILED
        self._touch(call)

    with patch.object(journal._Group, "_lose", lose):
        yield


@contextlib.contextmanager
def not_sent_billed() -> Iterator[None]:
    """A refused connection counts as a send that may have been billed."""
    with replaced(maybe_billed, lambda fault: True):
        yield


@dataclass(frozen=True)
class Hunt:
    """A mutant, the mood of the opponent that is likeliest to meet it, and where it begins.

    ``seed`` is that of a schedule that met it once: it saves time, and when the product has
    changed so that this one does not any more, those after it are played.
    """

    mutant: Mutant
    mood: str
    seed: int = 0


MUTANTS: dict[str, Hunt] = {
    "no fence on finish": Hunt(no_fence_on_finish, "racing", 24),
    "no reap under pause or cancel": Hunt(no_reap_while_stopping, "restless", 54),
    "attempt counted at finish": Hunt(attempt_counted_at_finish, "deadly", 12),
    "event outside the transaction": Hunt(event_outside_the_transaction, "even", 1),
    "numbers from a sequence": Hunt(numbers_from_a_sequence, "deadly", 17),
    "self-fence off": Hunt(no_self_fence, "racing", 15),
    "reservation not freed": Hunt(reservation_not_freed, "even"),
    "sent ignored": Hunt(sent_ignored, "racing", 18),
    "lost call not in doubt": Hunt(lost_without_doubt, "deadly", 46),
    "not sent, yet billed": Hunt(not_sent_billed, "outage"),
}


# --- rules of the gateway, which a schedule of processes says nothing about ----------------------


@contextlib.contextmanager
def retry_after_ignored() -> Iterator[None]:
    """A server that says how long to wait is asked again as soon as any other."""
    delay = Attempts.delay

    def deaf(self: Attempts, fault: Fault, now: float, **more: bool) -> float | None:
        told, fault.retry_after = fault.retry_after, None
        try:
            return delay(self, fault, now, **more)
        finally:
            fault.retry_after = told

    with patch.object(Attempts, "delay", deaf):
        yield


@contextlib.contextmanager
def rate_limit_as_outage() -> Iterator[None]:
    """Every 429 counts as a failure of the model."""
    counts = Breaker._counts

    def counting(self: Breaker, fault: Fault) -> bool:
        return fault.error_class is ErrorClass.RATE_LIMIT or counts(self, fault)

    with patch.object(Breaker, "_counts", counting):
        yield


GATEWAY_MUTANTS: dict[str, Mutant] = {
    "not sent, yet billed": not_sent_billed,
    "Retry-After ignored": retry_after_ignored,
    "429 counted as outage": rate_limit_as_outage,
}
