"""What one deployment can take: calls at once, requests and tokens a minute, time to answer.

How many calls at once is found out (RELIABILITY §3.3): one more when all of the present ones were
answered, half as many when the provider says there were too many. Additive increase and
multiplicative decrease is what lets several processes that know nothing of each other settle on
equal parts (Chiu and Jain, 1989). It begins like TCP (RFC 5681, slow start), doubling until the
first refusal, and grows only while its room is in use (RFC 7661).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from providers.gateway.buckets import Bucket
from providers.gateway.deadlines import Deadlines
from providers.gateway.errors import CallError, ErrorClass, Fault, maybe_billed
from providers.gateway.health import Health
from providers.gateway.limiter import Limiter
from providers.gateway.types import Deployment, Quota
from providers.gateway.window import Window

if TYPE_CHECKING:
    from providers.gateway.dispatch import Clock

RAMP_SECONDS = 0.05
"""While calls wait and none was refused, room doubles this often, however slow the answers are:
from 8 to 50 calls in 0.15 s."""

POLL_SECONDS = 0.2
"""How often a call that waits for room in a minute looks whether it was asked to stop."""

MARGIN = 1.25
"""Estimates are upper bounds. How far too high they are is learned; so much is kept on top."""

EVEN = 0.2
"""Part of the limits a minute that live processes share evenly; the rest goes by demand."""


class Lane:
    """The room of one deployment in this process.

    ``flying`` are calls on the wire. ``ready`` are those plus a quarter more whose intents are
    being committed, so that a slot that falls free is taken at once; more would leave intents
    in the journal of calls that were never sent when the process dies.

    A call that is admitted ends in exactly one of :meth:`answered` and :meth:`failed`, which are
    told the same estimate of its tokens.
    """

    def __init__(self, target: Deployment, clock: Clock) -> None:
        self._clock = clock
        self._batched = target.batched
        self._window = Window(target.concurrency, adapts=not target.batched)
        self.flying = Limiter(self._window.limit, self._on_wait)
        self.ready = Limiter(_with_reserve(self._window.limit), self._on_wait)
        self._requests = Bucket(target.requests_per_minute)
        self._tokens = Bucket(target.tokens_per_minute)
        self._turn = Limiter(1)
        self._charges: dict[int, deque[tuple[float, float]]] = {}
        self._ratio = 1.0
        self._deadlines = Deadlines(target.timeouts.first_byte)
        self._ramp: asyncio.TimerHandle | None = None

    @property
    def in_flight(self) -> int:
        """Calls on the wire."""
        return self.flying.active

    @property
    def wanted(self) -> int:
        """Calls on the wire and calls that wait to be."""
        return self.ready.active + self.ready.waiting

    @property
    def limit(self) -> int:
        """The most calls on the wire now."""
        return self.flying.size

    def resize(self, size: int) -> None:
        """Set the upper bound of calls on the wire."""
        self._window.most = max(1, size)
        self._fit()

    async def admit(
        self, tokens: int, should_stop: Callable[[], bool], *, interactive: bool = False
    ) -> None:
        """Wait until a call of about so many tokens fits into the limits a minute, and count it.

        Raises :class:`CallError` (cancelled) when it is asked to stop. Providers' batches have
        limits of their own, so what goes into them always fits.
        """
        if self._batched:
            return
        if interactive:
            await self._admit(tokens, should_stop, interactive=True)
            return
        async with self._turn:
            await self._admit(tokens, should_stop, interactive=False)

    def answered(
        self, latency: float, tokens: int, quota: Quota | None, estimated: int = 0
    ) -> None:
        """A call was answered after ``latency`` seconds and took so many tokens."""
        now = self._clock.monotonic()
        self._correct(estimated, tokens)
        self._learn(estimated, tokens)
        self._told(quota, now)
        if not self._batched:
            self._deadlines.answered(latency, estimated)
        self._window.answered(latency, now, full=self._is_full())
        self._fit()

    def failed(self, fault: Fault, latency: float, estimated: int = 0) -> None:
        """A call failed after ``latency`` seconds."""
        now = self._clock.monotonic()
        self._correct(estimated, None if maybe_billed(fault) else 0)
        if fault.error_class is ErrorClass.RATE_LIMIT:
            self._window.refused(now)
        elif fault.error_class is ErrorClass.TIMEOUT and fault.sent:
            self._window.timed_out(now)
            if latency >= 0.9 * self._deadlines.limit(estimated):
                self._deadlines.late(estimated)
        self._fit()

    def share(self, health: Health) -> None:
        """Take this process's part of the limits a minute."""
        part = 1.0
        if health.members > 1:
            total = max(health.wanted, self.wanted)
            own = self.wanted / total if total else 1 / health.members
            part = EVEN / health.members + (1 - EVEN) * own
        self._requests.set_share(part)
        self._tokens.set_share(part)

    def deadline(self, estimated: int = 0) -> float:
        """Seconds to wait for the first byte of a call of about so many tokens."""
        return self._deadlines.limit(estimated)

    def _on_wait(self) -> None:
        """Calls wait: look soon whether there may be more room, answers or none."""
        if self._ramp is None and self._window.ramps:
            self._ramp = asyncio.get_running_loop().call_later(RAMP_SECONDS, self._ramp_up)

    def _ramp_up(self) -> None:
        self._ramp = None
        if self._window.ramps and self._is_full():
            self._window.double()
            self._fit()
        if self.flying.waiting or self.ready.waiting:
            self._on_wait()

    def _is_full(self) -> bool:
        return self.flying.active >= self.flying.size or self.ready.waiting > 0

    def _fit(self) -> None:
        limit = self._window.limit
        if limit != self.flying.size:
            self.ready.resize(_with_reserve(limit))
            self.flying.resize(limit)

    async def _admit(
        self, tokens: int, should_stop: Callable[[], bool], *, interactive: bool
    ) -> None:
        charge = tokens * self._ratio
        while True:
            now = self._clock.monotonic()
            wait = max(
                self._requests.wait(1, now, interactive=interactive),
                self._tokens.wait(charge, now, interactive=interactive),
            )
            if wait <= 0:
                break
            if should_stop():
                raise CallError(ErrorClass.CANCELLED)
            await self._clock.sleep(min(wait, POLL_SECONDS))
        self._requests.take(1, now)
        self._tokens.take(charge, now)
        self._charges.setdefault(tokens, deque()).append((charge, now))

    def _correct(self, estimated: int, tokens: int | None) -> None:
        """Count what a call took in place of what was counted for it at first; ``None`` when
        nobody knows."""
        charges = self._charges.get(estimated)
        if not charges:
            return
        charge, taken_at = charges.popleft()
        if not charges:
            del self._charges[estimated]
        if tokens is not None:
            self._tokens.correct(charge, tokens, taken_at)

    def _learn(self, estimated: int, tokens: int) -> None:
        if estimated > 0 and tokens > 0:
            self._ratio += (min(1.0, MARGIN * tokens / estimated) - self._ratio) / 16

    def _told(self, quota: Quota | None, now: float) -> None:
        if quota is not None:
            self._requests.told(
                quota.requests_limit, quota.requests_left, quota.requests_reset, now
            )
            self._tokens.told(quota.tokens_limit, quota.tokens_left, quota.tokens_reset, now)


def _with_reserve(size: int) -> int:
    return size + size // 4
