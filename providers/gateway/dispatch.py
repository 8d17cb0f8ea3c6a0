"""One journalled request through a route: targets, slots, attempts, waits."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from core.crashpoints import reach, reach_soon
from providers.gateway.errors import TRAITS, CallError, ErrorClass, Fault
from providers.gateway.journal import Journal, JournalRow
from providers.gateway.limiter import Limiter
from providers.gateway.retry import Attempts, RetryPolicy
from providers.gateway.types import CallScope, Deployment, Route

T = TypeVar("T")

STOP_POLL = 0.2
"""How often a waiting call looks whether it was asked to stop, in seconds."""

OUTAGE_CALLS = 10
"""So many calls in a row that exhausted their attempts make a provider's fault fatal."""


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
    ``settle`` writes the reply into the row.
    """

    row: Callable[[Deployment], JournalRow]
    perform: Callable[[Deployment, float], Awaitable[T]]
    settle: Callable[[Deployment, T, JournalRow], JournalRow]


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """A reply, committed to the journal, and where it came from."""

    target: Deployment
    reply: T
    row: JournalRow


@dataclass(frozen=True, slots=True)
class _Sent(Generic[T]):
    """What one attempt came to, and when it was sent by the gateway's clock."""

    outcome: T | Fault
    at: float


@dataclass(slots=True)
class _Health:
    """What a deployment did lately; ``answered_at`` is minus infinity before its first answer."""

    answered_at: float = float("-inf")
    exhausted: int = 0


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
        row = job.row(target)
        attempts: Attempts | None = None
        while True:
            row = replace(row, attempt=attempts.count + 1 if attempts else 1)
            sent = await self._sent(target, job, row, scope)
            outcome, now = sent.outcome, self._clock.monotonic()
            latency = int(1000 * (now - sent.at))
            attempts = attempts or Attempts(self._policy, self._rng, sent.at)
            if not isinstance(outcome, Fault):
                return await self._settle(target, job, row, outcome, latency)
            self._note_failure(target, row, outcome, latency)
            delay = attempts.delay(outcome, now)
            if delay is None or (not last and TRAITS[outcome.error_class].elsewhere):
                raise self._give_up(target, outcome, attempts)
            await self._pause(delay, scope)

    async def _sent(
        self, target: Deployment, job: Job[T], row: JournalRow, scope: CallScope
    ) -> _Sent[T]:
        """Commit the intent, wait for a slot, send once."""
        lane = self.lane(target)
        on_the_wire = False
        async with lane.ready:
            _check(scope)
            if target.journaled:
                reach("before_intent")
                await self._journal.write(row)
                reach("after_intent")
            try:
                async with lane.flying:
                    _check(scope)
                    on_the_wire = True
                    started = self._clock.monotonic()
                    outcome = await self._once(target, job)
                    return _Sent(outcome, started)
            finally:
                if not on_the_wire:
                    self._note_failure(target, row, Fault(ErrorClass.CANCELLED, sent=False), 0)

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
        health.exhausted = 0
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
            health.exhausted += 1
            waits = fault.retry_after is not None and attempts.count == 1
            fatal = waits or health.exhausted >= OUTAGE_CALLS
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
