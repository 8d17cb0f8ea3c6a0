"""One journalled request through a route: targets, slots, attempts, waits."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import Generic, Protocol, TypeVar

from core.crashpoints import reach, reach_soon
from providers.gateway.errors import (
    TRAITS,
    CallError,
    ErrorClass,
    Fault,
    Parked,
    is_outage,
    maybe_billed,
)
from providers.gateway.journal import GO, Journal, JournalRow, StoredAnswer, Verdict
from providers.gateway.limiter import Limiter
from providers.gateway.retry import Attempts, RetryPolicy
from providers.gateway.types import CallScope, Deployment, Route

T = TypeVar("T")

STOP_POLL = 0.2
"""How often a waiting call looks whether it was asked to stop, in seconds."""

OUTAGE_CALLS = 10
"""So many calls in a row that exhausted their attempts make a provider's fault fatal."""

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


class Clock(Protocol):
    """Time as the gateway sees it."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The real clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """What is to be sent.

    ``row`` gives the journal's row for a target, ``perform`` sends within so many seconds,
    ``settle`` writes the reply into the row. ``replay`` makes a reply of an answer that somebody
    else paid for meanwhile, ``find`` looks for one that the provider kept; ``None`` where the job
    knows no such thing.
    """

    row: Callable[[Deployment], JournalRow]
    perform: Callable[[Deployment, float], Awaitable[T]]
    settle: Callable[[Deployment, T, JournalRow], JournalRow]
    replay: Callable[[StoredAnswer], T]
    find: Callable[[Deployment, JournalRow], Awaitable[T | None]] | None = None


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """A reply, committed to the journal, and where it came from. ``replayed``: nothing was paid."""

    target: Deployment
    reply: T
    row: JournalRow
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class _Sent(Generic[T]):
    """What one attempt came to, and when it was sent by the gateway's clock.

    ``stored`` is the journal's answer where nothing had to be sent.
    """

    outcome: T | Fault
    at: float
    row: JournalRow
    stored: StoredAnswer | None = None


@dataclass(slots=True)
class _Health:
    """What a deployment did lately; ``answered_at`` is minus infinity before its first answer."""

    answered_at: float = float("-inf")
    exhausted: int = 0
    throttled: int = 0


class Lane:
    """The slots of one deployment.

    ``flying`` are calls on the wire. ``ready`` are those plus a quarter more whose intents are
    being committed, so that a slot that falls free is taken at once; more would leave intents
    in the journal of calls that were never sent when the process dies.
    """

    def __init__(self, size: int) -> None:
        self.flying = Limiter(size)
        self.ready = Limiter(_with_reserve(size))

    def resize(self, size: int) -> None:
        """Set the most calls on the wire."""
        self.flying.resize(size)
        self.ready.resize(_with_reserve(size))


def _with_reserve(size: int) -> int:
    return size + size // 4


class Dispatcher:
    """Sends jobs along routes. One per gateway; it holds the lanes of all deployments."""

    def __init__(
        self, journal: Journal, policy: RetryPolicy, clock: Clock, rng: random.Random
    ) -> None:
        self._journal = journal
        self._policy = policy
        self._clock = clock
        self._rng = rng
        self._lanes: dict[str, Lane] = {}
        self._health: dict[str, _Health] = {}

    def lane(self, target: Deployment) -> Lane:
        """The deployment's slots, at first as many as its configured concurrency."""
        lane = self._lanes.get(target.id)
        if lane is None:
            lane = self._lanes[target.id] = Lane(target.concurrency)
        return lane

    async def run(self, job: Job[T], route: Route, scope: CallScope) -> Done[T]:
        """Send along the route.

        Raises :class:`CallError` with the last target's class when none answered.
        """
        error = CallError(ErrorClass.NOT_FOUND, "This route has no provider.", fatal=True)
        for position, target in enumerate(route.targets):
            try:
                return await self._on(target, job, scope, last=position == len(route.targets) - 1)
            except CallError as failed:
                error = failed
                if not TRAITS[failed.error_class].elsewhere:
                    raise
        raise error

    async def _on(self, target: Deployment, job: Job[T], scope: CallScope, last: bool) -> Done[T]:
        row = replace(
            job.row(target), open_for=target.timeouts.total + SLOT_SECONDS + SETTLE_SECONDS
        )
        attempts: Attempts | None = None
        while True:
            row = replace(row, attempt=attempts.count + 1 if attempts else 1)
            sent = await self._sent(target, job, row, scope)
            outcome, now = sent.outcome, self._clock.monotonic()
            latency = int(1000 * (now - sent.at))
            attempts = attempts or Attempts(self._policy, self._rng, sent.at)
            if not isinstance(outcome, Fault):
                if sent.stored is not None:
                    return Done(target, outcome, _replayed(sent.row, sent.stored), replayed=True)
                return await self._settle(target, job, sent.row, outcome, latency)
            self._note_failure(target, sent.row, outcome, latency)
            delay = attempts.delay(outcome, now)
            if delay is None or (not last and TRAITS[outcome.error_class].elsewhere):
                raise self._give_up(target, outcome, attempts)
            await self._pause(delay, scope)

    async def _sent(
        self, target: Deployment, job: Job[T], row: JournalRow, scope: CallScope
    ) -> _Sent[T]:
        """Have the intent decided on, wait for a slot, send once.

        Raises :class:`CallError` when a spending limit leaves no room.
        """
        while True:
            row = replace(row, ticket=next(_tickets))
            async with self.lane(target).ready:
                _check(scope)
                verdict = await self._intend(target, row)
                sent = None
                if verdict.word == "go":
                    sent = await self._fly(target, job, row, scope, verdict)
            if sent is not None:
                return sent
            if verdict.answer is not None:
                reply = job.replay(verdict.answer)
                return _Sent(reply, self._clock.monotonic(), row, verdict.answer)
            if verdict.word == "parked":
                raise Parked(verdict.text)
            if verdict.word == "refused":
                raise CallError(ErrorClass.BUDGET, verdict.text, fatal=True)
            await self._pause(STOP_POLL, scope)

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
    ) -> _Sent[T] | None:
        """Send once a slot is free; ``None``, with the intent given back, when that took long."""
        intended = self._clock.monotonic()
        ended: Fault | None = Fault(ErrorClass.CANCELLED, sent=False)
        try:
            async with self.lane(target).flying:
                _check(scope)
                started = self._clock.monotonic()
                if started - intended > SLOT_SECONDS:
                    return None
                found = await self._found(target, job, row, verdict.doubted)
                if found is None:
                    ended = Fault(ErrorClass.CANCELLED)
                    outcome: T | Fault = await self._once(target, job)
                else:
                    outcome, row = found, replace(row, found=not isinstance(found, Fault))
                ended = None
                return _Sent(outcome, started, row)
        finally:
            if ended is not None:
                self._note_failure(target, row, ended, 0)

    async def _found(
        self, target: Deployment, job: Job[T], row: JournalRow, doubted: float | None
    ) -> T | Fault | None:
        """The answer of an earlier send that was cut off, if the provider kept it.

        A fault when it could not be asked: sending again might pay twice.
        """
        if doubted is None or job.find is None or not target.reconciles:
            return None
        give_up = self._clock.monotonic() + FIND_SECONDS - doubted
        while True:
            try:
                found = await job.find(target, row)
            except Fault as fault:
                return Fault(fault.error_class, fault.detail, status=fault.status, sent=False)
            if found is not None or self._clock.monotonic() >= give_up:
                return found
            await self._clock.sleep(FIND_POLL)

    async def _once(self, target: Deployment, job: Job[T]) -> T | Fault:
        limit = target.timeouts.total
        try:
            reach_soon("after_send")
            async with asyncio.timeout(limit):
                return await job.perform(target, limit)
        except TimeoutError:
            return Fault(ErrorClass.TIMEOUT, f"no complete answer within {limit:g} s")
        except Fault as fault:
            return fault

    async def _settle(
        self, target: Deployment, job: Job[T], row: JournalRow, reply: T, latency: int
    ) -> Done[T]:
        reach("after_response")
        health = self._health.setdefault(target.id, _Health())
        health.answered_at = self._clock.monotonic()
        health.exhausted = health.throttled = 0
        row = replace(job.settle(target, reply, row), state="ok", latency_ms=latency)
        if target.journaled:
            await self._journal.write(row)
            reach("after_settle")
        return Done(target, reply, row)

    def _note_failure(
        self, target: Deployment, row: JournalRow, fault: Fault, latency: int
    ) -> None:
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

    def _give_up(self, target: Deployment, fault: Fault, attempts: Attempts) -> CallError:
        """The error after the last attempt, and whether the next call would fail alike."""
        health = self._health.setdefault(target.id, _Health())
        traits = TRAITS[fault.error_class]
        error_class, fatal = fault.error_class, traits.fatal
        if fault.unsure and health.answered_at >= attempts.started:
            error_class, fatal = ErrorClass.RATE_LIMIT, False
        elif error_class is ErrorClass.NOT_FOUND and health.answered_at > float("-inf"):
            fatal = False
        elif traits.retryable:
            health.exhausted += is_outage(error_class)
            health.throttled += not is_outage(error_class)
            waits = fault.retry_after is not None and attempts.count == 1
            fatal = waits or max(health.exhausted, health.throttled) >= OUTAGE_CALLS
        text = TRAITS[error_class].text
        message = f"{target.provider}: {text}" + (f" ({fault.detail})" if fault.detail else "")
        return CallError(error_class, message, fatal=fatal)

    async def _pause(self, seconds: float, scope: CallScope) -> None:
        until = self._clock.monotonic() + seconds
        while (left := until - self._clock.monotonic()) > 0:
            _check(scope)
            await self._clock.sleep(min(left, STOP_POLL))


def _check(scope: CallScope) -> None:
    if scope.should_stop():
        raise CallError(ErrorClass.CANCELLED)


def _replayed(row: JournalRow, answer: StoredAnswer) -> JournalRow:
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
