"""What this process knows of each deployment, told to the other processes and learned from them.

The path of a call reads memory alone. While calls are out, a thread of its own exchanges with the
:class:`HealthStore` about once a second. A store that fails costs nothing but news: each process
then goes by what it sees itself.
"""

from __future__ import annotations

import asyncio
import logging
import random
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

from providers.gateway.breaker import Breaker, BreakerPolicy, Pass
from providers.gateway.clock import Clock
from providers.gateway.errors import Fault
from providers.gateway.health import (
    LATENCY_BOUNDS,
    STALE_SECONDS,
    Change,
    Health,
    HealthStore,
    Seen,
)
from providers.gateway.lanes import Lane
from providers.gateway.strategy import Load
from providers.gateway.told import Told
from providers.gateway.types import Deployment, Quota

T = TypeVar("T")

log = logging.getLogger("openclio.gateway")

FIRST_LOOK = 0.25
"""Seconds that the first call of a gateway waits to learn what others know; later ones never."""

SLOW_SECONDS = 8.0
SLOW_TIMES = 3.0
"""An answer is slow when it took longer than both: so many seconds, and so many times the median
(an answer that a person would not have waited for, and unlike the others)."""

SMOOTHING = 0.2
"""Weight of the newest answer in the moving average of latency."""

REMEMBERED = 128
"""Answers of which percentiles are taken."""

TRIAL_SECONDS = 30.0
"""The right to try a resting model outlasts the call that tries it by so much."""


@dataclass(slots=True)
class Counts:
    """What happened since the others were last told; see :class:`Seen`."""

    answered: int = 0
    slow: int = 0
    failed: int = 0
    recovered: int = 0
    tokens: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    latencies: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS) + 1))

    def add(self, seen: Seen) -> None:
        """Count again what could not be told."""
        self.answered += seen.answered
        self.slow += seen.slow
        self.failed += seen.failed
        self.recovered += seen.recovered
        self.tokens += seen.tokens
        self.errors.update(seen.errors)
        for place, number in enumerate(seen.latencies):
            self.latencies[place] += number


class Watch:
    """What this process knows of one deployment."""

    def __init__(self, target: Deployment, lane: Lane, breaker: Breaker) -> None:
        self.id = target.id
        self.lane = lane
        self.breaker = breaker
        self.batched = target.batched
        self.told = Told()
        self.answered_at = float("-inf")
        self.exhausted = 0
        self.throttled = 0
        self.latency: float | None = None
        self._quota = Quota()
        self._counts = Counts()
        self._latest: deque[float] = deque(maxlen=REMEMBERED)
        self._sorted: list[float] = []
        self._went: tuple[int | None, str, int] | None = None

    def answered(self, now: float, latency: float, tokens: int, recovered: bool) -> None:
        """Count an answer that took ``latency`` seconds and ``tokens`` in and out."""
        self.answered_at = now
        self.told.answered(now - latency)
        self.exhausted = self.throttled = 0
        counts = self._counts
        counts.answered += 1
        counts.tokens += tokens
        counts.recovered += recovered
        if self.batched:
            return
        counts.latencies[bisect_left(LATENCY_BOUNDS, latency)] += 1
        counts.slow += latency > max(SLOW_SECONDS, SLOW_TIMES * (self.percentile(0.5) or 0.0))
        self._latest.append(latency)
        self._sorted = []
        old = self.latency
        self.latency = latency if old is None else old + SMOOTHING * (latency - old)

    def met(self, fault: Fault, now: float) -> None:
        """Count a failed attempt, and the wait it asked for."""
        self.told.failed(fault, now)
        self._counts.errors[fault.error_class.value] += 1

    def gave_up(self) -> None:
        """Count a call that ended here without an answer."""
        self._counts.failed += 1

    def read(self, quota: Quota | None) -> None:
        """Take in what an answer's headers say is left."""
        if quota is not None:
            self._quota = quota

    def went_elsewhere(self, session: int | None, to: str, ms: int) -> None:
        """Note where a call went that met the fault after which this one rests."""
        self._went = (session, to, ms)

    def percentile(self, share: float) -> float | None:
        """The latency in seconds that so large a share of the last answers kept under."""
        if not self._latest:
            return None
        if not self._sorted:
            self._sorted = sorted(self._latest)
        return self._sorted[min(len(self._sorted) - 1, int(share * len(self._sorted)))]

    def load(self) -> Load:
        """How busy and fast it is."""
        return Load(self.lane.in_flight, self.lane.limit, self.latency)

    def seen(self) -> Seen:
        """What is to be told; counting begins anew."""
        counts, self._counts = self._counts, Counts()
        return Seen(
            deployment=self.id,
            answered=counts.answered,
            slow=counts.slow,
            failed=counts.failed,
            recovered=counts.recovered,
            tokens=counts.tokens,
            errors=dict(counts.errors),
            latencies=tuple(counts.latencies),
            in_flight=self.lane.in_flight,
            wanted=self.lane.wanted,
            limit=self.lane.limit,
            requests_left=self._quota.requests_left,
            tokens_left=self._quota.tokens_left,
        )

    def unseen(self, seen: Seen) -> None:
        """The others could not be told."""
        self._counts.add(seen)
        self.breaker.untold()

    def change(self) -> Change | None:
        """What was decided and is to be told."""
        change = self.breaker.tell()
        if change is None:
            return None
        change = replace(change, deployment=self.id)
        if self._went is not None and change.state == "open":
            session, to, ms = self._went
            change = replace(change, session=session, went_to=to, switch_ms=ms)
        self._went = None
        return change


class Board:
    """The watches of one gateway, and the thread that exchanges with the store."""

    def __init__(
        self,
        store: HealthStore | None,
        policy: BreakerPolicy,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._rng = rng
        self._watches: dict[str, Watch] = {}
        self._batches: dict[str, Watch] = {}
        self._unknown: set[str] = set()
        self._owner = ""
        self._calls = 0
        self._thread: ThreadPoolExecutor | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._last = float("-inf")
        self._failing = False

    def watch(self, target: Deployment) -> Watch:
        """What is known of a deployment; from now on the others are asked about it as well.

        Of its batches something else is known, in this process alone: they have their own room.
        """
        if target.batched:
            return self._batched(target)
        watch = self._watches.get(target.id)
        if watch is None:
            lane = Lane(target, self._clock)
            watch = Watch(target, lane, Breaker(self._policy, self._rng))
            self._watches[target.id] = watch
            if self._store is not None:
                self._unknown.add(target.id)
        return watch

    def _batched(self, target: Deployment) -> Watch:
        watch = self._batches.get(target.id)
        if watch is None:
            lane = Lane(target, self._clock)
            watch = Watch(target, lane, Breaker(self._policy, self._rng))
            self._batches[target.id] = watch
        return watch

    def states(self, targets: Iterable[Deployment]) -> dict[str, Health]:
        """The health of the targets that are not simply well."""
        now, found = self._clock.monotonic(), {}
        for target in targets:
            breaker = self.watch(target).breaker
            if breaker.state != "closed" and not target.batched:
                found[target.id] = breaker.health(now)
        return found

    def loads(self, targets: Iterable[Deployment]) -> dict[str, Load]:
        """How busy and fast the targets are."""
        return {target.id: self.watch(target).load() for target in targets}

    # Calls

    async def enter(self, owner: str, targets: Sequence[Deployment]) -> None:
        """A call begins. The first one of a gateway waits a moment for what the others know."""
        self._calls += 1
        if self._store is None:
            return
        self._owner = owner or self._owner
        new = False
        for target in targets:
            self.watch(target)
            new = new or target.id in self._unknown
        self._beat()
        if new and self._task is not None:
            await asyncio.wait([self._task], timeout=FIRST_LOOK)

    def leave(self) -> None:
        """A call is over."""
        self._calls -= 1

    def _beat(self) -> None:
        """Exchange now, or when the last exchange is a second old."""
        if self._task is not None or self._timer is not None or self._store is None:
            return
        loop = asyncio.get_running_loop()
        wait = self._last + STALE_SECONDS - loop.time()
        if wait <= 0 or self._unknown:
            self._start()
        else:
            self._timer = loop.call_later(wait, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._start()

    def _start(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._exchange())

    async def _exchange(self) -> None:
        loop = asyncio.get_running_loop()
        self._last = loop.time()
        watches = list(self._watches.values())
        seen = [watch.seen() for watch in watches]
        changes = [change for watch in watches if (change := watch.change()) is not None]
        assert self._store is not None
        store, owner = self._store, self._owner
        known = await self._in_thread(lambda: store.exchange(owner, seen, changes))
        self._failing = known is None
        for watch, told in zip(watches, seen, strict=True):
            self._unknown.discard(watch.id)
            if known is None:
                watch.unseen(told)
            elif watch.id in known:
                watch.breaker.learn(known[watch.id], self._clock.monotonic())
                watch.lane.share(known[watch.id])
        self._task = None
        if self._calls > 0:
            self._beat()

    async def _in_thread(self, act: Callable[[], T]) -> T | None:
        """``None`` when the store failed: nobody's call depends on it."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="health")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, act)
        except Exception as error:  # noqa: BLE001 - a store of any kind
            log.warning("shared health not reached: %s", type(error).__name__)
            return None

    # Trying a resting model

    async def take_right(self, target: Deployment) -> bool:
        """Whether this call may try a model whose rest is over."""
        breaker = self.watch(target).breaker
        mine = breaker.passes(self._clock.monotonic()) is Pass.TRY
        breaker.reach()
        if mine:
            return True
        if self._store is None:
            breaker.granted(self._clock.monotonic())
            return True
        try:
            return await self._ask_right(self._store, target, breaker)
        except asyncio.CancelledError:
            breaker.denied(self._clock.monotonic())
            raise

    async def _ask_right(self, store: HealthStore, target: Deployment, breaker: Breaker) -> bool:
        await self._told(breaker)
        owner, seconds = self._owner, target.timeouts.total + TRIAL_SECONDS
        answer = await self._in_thread(lambda: [store.take_probe(owner, target.id, seconds)])
        now = self._clock.monotonic()
        if answer is not None and answer[0] is None:
            breaker.denied(now)
            return False
        breaker.granted(now, answer[0] if answer is not None else None)
        return True

    async def _told(self, breaker: Breaker) -> None:
        """Wait until what was decided here has been told: the right hangs on it."""
        while breaker.pending and not self._failing:
            self._start()
            if self._task is not None:
                await asyncio.wait([self._task])

    async def aclose(self) -> None:
        """Tell what is left, and let the store and its thread go."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._store is None:
            return
        while self._task is not None:
            await asyncio.wait([self._task])
        self._calls = 0
        for watch in self._watches.values():
            watch.breaker.surrender(self._clock.monotonic())
        if self._watches:
            await self._exchange()
        store = self._store
        await self._in_thread(store.close)
        if self._thread is not None:
            self._thread.shutdown(wait=True)
            self._thread = None
