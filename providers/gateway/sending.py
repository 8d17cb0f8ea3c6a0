"""One attempt: the intent is decided on, a slot is waited for, bytes leave once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Generic, Protocol, TypeVar

from core.crashpoints import reach, reach_soon
from providers.gateway.board import Board
from providers.gateway.breaker import Pass
from providers.gateway.clock import STOP_POLL, Clock, check, pause
from providers.gateway.errors import CallError, CutOff, ErrorClass, Fault, Parked, maybe_billed
from providers.gateway.journal import GO, Journal, JournalRow, StoredAnswer, Verdict
from providers.gateway.lanes import Lane
from providers.gateway.strategy import Needs
from providers.gateway.types import CallScope, Deployment, Quota


class Reply(Protocol):
    """What the gateway reads in any reply."""

    @property
    def tokens_in(self) -> int: ...

    @property
    def tokens_out(self) -> int: ...

    @property
    def quota(self) -> Quota | None: ...


T = TypeVar("T", bound=Reply)

SLOT_SECONDS = 20.0
"""A call that waited longer for its slot gives its intent back and writes a new one."""

SETTLE_SECONDS = 30.0
"""Beyond a call's own time, for finding an earlier answer and committing a new one."""

FIND_SECONDS = 10.0
"""A provider that keeps answers may still be working on one that was cut off less long ago."""

FIND_POLL = 1.0
"""Seconds between two looks for such an answer."""

_tickets = count(1)
"""Numbers of sends, never given twice by a process."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long an attempt may take in seconds: for its first byte and in all."""

    total: float
    first_byte: float


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """What is to be sent.

    ``row`` gives the journal's row for a target, ``perform`` sends within limits, ``settle``
    writes the reply into the row. ``replay`` makes a reply of an answer that somebody else paid
    for meanwhile, ``find`` looks for one that the provider kept; ``None`` where the job knows no
    such thing. ``needs`` are what a target must have to be asked. ``interactive``: a person waits.
    """

    row: Callable[[Deployment], JournalRow]
    perform: Callable[[Deployment, Limits], Awaitable[T]]
    settle: Callable[[Deployment, T, JournalRow], JournalRow]
    replay: Callable[[StoredAnswer], T]
    find: Callable[[Deployment, JournalRow], Awaitable[T | None]] | None = None
    needs: Needs = field(default_factory=Needs)
    interactive: bool = False


@dataclass(frozen=True, slots=True)
class Sent(Generic[T]):
    """What one attempt came to, and when it was sent by the gateway's clock.

    ``stored`` is the journal's answer where nothing had to be sent.
    """

    outcome: T | Fault
    at: float
    row: JournalRow
    stored: StoredAnswer | None = None


class Sender:
    """Makes single attempts. One per gateway."""

    def __init__(self, journal: Journal, board: Board, clock: Clock) -> None:
        self._journal = journal
        self._board = board
        self._clock = clock

    async def send(
        self,
        target: Deployment,
        job: Job[T],
        row: JournalRow,
        scope: CallScope,
        trial: bool,
    ) -> Sent[T] | None:
        """Have the intent decided on, wait for a slot, send once.

        ``None`` when the target was found to rest meanwhile; a ``trial`` is to find that out.
        Raises :class:`CallError` when a spending limit leaves no room.
        """
        lane = self._board.watch(target).lane
        while True:
            row = replace(row, ticket=next(_tickets))
            async with lane.ready:
                check(scope)
                if not trial and self.rests(target):
                    return None
                verdict = await self._intend(target, row)
                sent = None
                if verdict.word == "go":
                    sent = await self._fly(target, job, row, scope, verdict, trial)
            if sent is not None:
                return sent
            reply = _answered(verdict)
            if reply is not None:
                return Sent(job.replay(reply), self._clock.monotonic(), row, reply)
            if verdict.word == "wait" or not self.rests(target):
                await pause(self._clock, STOP_POLL, scope)

    def rests(self, target: Deployment) -> bool:
        """Whether the target is not to be called now, unless by a trial."""
        if target.batched:
            return False
        breaker = self._board.watch(target).breaker
        return breaker.passes(self._clock.monotonic()) is not Pass.FREE

    async def _intend(self, target: Deployment, row: JournalRow) -> Verdict:
        if not target.journaled:
            return GO
        reach("before_intent")
        verdict = await self._journal.write(row)
        reach("after_intent")
        return verdict

    async def _fly(
        self,
        target: Deployment,
        job: Job[T],
        row: JournalRow,
        scope: CallScope,
        verdict: Verdict,
        trial: bool,
    ) -> Sent[T] | None:
        """Send once a slot is free; ``None``, with the intent given back, when that took long or
        the target came to rest meanwhile."""
        late = self._clock.monotonic() + SLOT_SECONDS
        ended: Fault | None = Fault(ErrorClass.CANCELLED, sent=False)
        lane = self._board.watch(target).lane
        try:
            async with lane.flying:
                check(scope)
                if self._clock.monotonic() > late or (not trial and self.rests(target)):
                    return None
                started = self._clock.monotonic()
                found = await self._found(target, job, row, verdict.doubted)
                if found is not None:
                    ended, row = None, replace(row, found=not isinstance(found, Fault))
                    return Sent(found, started, row)
                if not await self._admitted(lane, row, scope, late, job.interactive):
                    return None
                # Once handed over in a batch it is the batch's: till then nothing has left.
                ended = Fault(ErrorClass.CANCELLED, sent=not target.batched)
                started = self._clock.monotonic()
                outcome = await self._measured(target, job, row, lane)
                ended = None
                return Sent(outcome, started, row)
        except Parked:
            ended = None  # the journal keeps it as sent, on behalf of the provider's batch
            raise
        except CutOff as cut:
            ended = cut.fault
            raise
        finally:
            if ended is not None:
                self.note_failure(target, row, ended, 0)

    async def _admitted(
        self, lane: Lane, row: JournalRow, scope: CallScope, late: float, interactive: bool
    ) -> bool:
        """Wait for room in the limits a minute; false when that took too long for the intent."""

        def enough() -> bool:
            return scope.should_stop() or self._clock.monotonic() > late

        try:
            await lane.admit(row.tokens_reserved, enough, interactive=interactive)
        except CallError:
            check(scope)
            return False
        return True

    async def _measured(
        self, target: Deployment, job: Job[T], row: JournalRow, lane: Lane
    ) -> T | Fault:
        """Send, and tell the lane what came of it, whatever that is."""
        started, estimated = self._clock.monotonic(), row.tokens_reserved
        outcome: T | Fault = Fault(ErrorClass.CANCELLED)
        try:
            outcome = await self._once(target, job, lane.deadline(estimated))
        finally:
            latency = self._clock.monotonic() - started
            if isinstance(outcome, Fault):
                lane.failed(outcome, latency, estimated)
            else:
                used = outcome.tokens_in + outcome.tokens_out
                lane.answered(latency, used, outcome.quota, estimated)
        return outcome

    async def _found(
        self, target: Deployment, job: Job[T], row: JournalRow, doubted: float | None
    ) -> T | Fault | None:
        """The answer of an earlier send that was cut off, if the provider kept it.

        A fault when it could not be asked: sending again might pay twice. A batch may be worked
        on as long as it may take in all.
        """
        if doubted is None or job.find is None or not target.reconciles:
            return None
        patience = target.timeouts.total if target.batched else FIND_SECONDS
        give_up = self._clock.monotonic() + patience - doubted
        while True:
            try:
                found = await job.find(target, row)
            except Fault as fault:
                return Fault(fault.error_class, fault.detail, status=fault.status, sent=False)
            if found is not None or self._clock.monotonic() >= give_up:
                return found
            await self._clock.sleep(FIND_POLL)

    async def _once(self, target: Deployment, job: Job[T], first_byte: float) -> T | Fault:
        limit = target.timeouts.total
        try:
            reach_soon("after_send")
            async with asyncio.timeout(limit):
                return await job.perform(target, Limits(limit, first_byte))
        except TimeoutError:
            return Fault(ErrorClass.TIMEOUT, f"no complete answer within {limit:g} s")
        except Fault as fault:
            return fault

    async def settle(
        self, target: Deployment, job: Job[T], row: JournalRow, reply: T, latency: int
    ) -> JournalRow:
        """Commit the answer; the row as it was written."""
        reach("after_response")
        row = replace(job.settle(target, reply, row), state="ok", latency_ms=latency)
        if target.journaled:
            await self._journal.write(row)
            reach("after_settle")
        return row

    def note_failure(self, target: Deployment, row: JournalRow, fault: Fault, latency: int) -> None:
        """Have a failed attempt written, with its class and whether it may have been billed."""
        if target.journaled:
            self._journal.post(
                replace(
                    row,
                    state="failed",
                    error_class=fault.error_class.value,
                    message=fault.detail,
                    latency_ms=latency,
                    in_doubt=maybe_billed(fault),
                    unsent=not fault.sent,
                )
            )


def replayed_row(row: JournalRow, answer: StoredAnswer) -> JournalRow:
    """The row as somebody else's answer left it."""
    return replace(
        row,
        state="ok",
        response=answer.text,
        tokens_in=answer.tokens_in,
        tokens_out=answer.tokens_out,
        tokens_cached=answer.tokens_cached,
        cost=answer.cost,
    )


def _answered(verdict: Verdict) -> StoredAnswer | None:
    """The answer that somebody else paid for. Raises :class:`CallError` when there will be none,
    and :class:`Parked` when there will be one later."""
    if verdict.word == "parked":
        raise Parked(verdict.text)
    if verdict.word == "refused":
        raise CallError(ErrorClass.BUDGET, verdict.text, fatal=True)
    return verdict.answer
