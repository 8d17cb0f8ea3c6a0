"""What the gateway does between the attempts of a call, on a clock that sleeping moves."""

from __future__ import annotations

import asyncio
import itertools
import random
from dataclasses import dataclass, field
from typing import Any

from providers.gateway.breaker import BreakerPolicy
from providers.gateway.dispatch import OUTAGE_CALLS
from providers.gateway.errors import CallError, ErrorClass, Fault, is_outage
from providers.gateway.gateway import Gateway
from providers.gateway.journal import GroupCommitJournal, MemoryStore
from providers.gateway.retry import RetryPolicy
from providers.gateway.types import CallScope, Deployment, Route, WireAnswer, WireChat
from tests.providers.support import FastClock, chat_call, deployment

GOOD = '{"request": "a", "sentiment": "neutral", "concern": 1}'
POLICY = RetryPolicy()
BREAKER = BreakerPolicy()
LATE = 1.0
"""Seconds of looking around that a wait may come to beyond what was asked for."""


@dataclass
class Attempt:
    """One send: when it came to its end, and how."""

    began: float
    ended: float
    fault: Fault | None


@dataclass
class Line:
    """A client whose faults follow from a seed. ``calls`` are the attempts of each call;
    ``weights`` say how often 429, 503, a refusal, a cut and an answer come."""

    rng: random.Random
    weights: tuple[float, ...]
    clock: FastClock
    calls: list[list[Attempt]] = field(default_factory=list)

    async def chat(self, _target: Deployment, _wire: WireChat) -> WireAnswer:
        began = self.clock.now
        self.clock.now += self.rng.uniform(0.01, 5)
        fault = self._fault()
        self.calls[-1].append(Attempt(began, self.clock.now, fault))
        if fault is not None:
            raise fault
        return WireAnswer(GOOD, tokens_in=10, tokens_out=5)

    async def embed(self, *_args: Any, **_options: Any) -> Any:
        raise Fault(ErrorClass.BAD_REQUEST, sent=False)

    async def aclose(self) -> None:
        return

    def _fault(self) -> Fault | None:
        kind = self.rng.choices(range(5), self.weights)[0]
        if kind == 0:
            told = self.rng.choice((None, 0.5, 4.0, 30.0))
            return Fault(ErrorClass.RATE_LIMIT, "HTTP 429", status=429, retry_after=told)
        if kind == 1:
            return Fault(ErrorClass.SERVER, "HTTP 503", status=503, retry_after=3.0)
        if kind == 2:
            return Fault(ErrorClass.NETWORK, "refused", sent=False)
        if kind == 3:
            return Fault(ErrorClass.NETWORK, "cut off")
        return None


def broken_by(seed: int) -> str:
    """Put some questions one after the other; the first rule that broke, "" for none."""
    return asyncio.run(_broken_by(random.Random(seed)))


async def _broken_by(rng: random.Random) -> str:
    clock, store = FastClock(), MemoryStore()
    weights = (rng.choice((1, 3)), 1, 3, 1, rng.choice((0, 0.3, 2)))
    line = Line(rng, weights, clock)
    journal = GroupCommitJournal(store, linger=0, retry_for=0.1)
    gateway = Gateway({"scripted": line}, journal, clock=clock, rng=rng)
    scope = CallScope(workspace=1, session=9, owner="worker")
    model, why = Model(), ""
    for number in range(20):
        clock.now += rng.choice((0, 0, 0, 15))
        line.calls.append([])
        failed: CallError | None = None
        began = clock.now
        try:
            await gateway.chat(chat_call(f"user: {number}"), Route((deployment(),)), scope)
        except CallError as error:
            failed = error
        attempts = line.calls[-1]
        why = why or _waits(attempts) or model.spared(began, attempts, failed)
        model.saw(attempts)
        why = why or model.fatal(failed, attempts)
    await gateway.aclose()
    return why or _doubts(store)


@dataclass
class Model:
    """What a breaker has to do, told from the attempts alone.

    ``opened`` is when it last came to rest, ``None`` while it is closed; ``marks`` are the calls
    that count: when, and whether well.
    """

    opened: float | None = None
    row: int = 0
    good: int = 0
    throttled: int = 0
    marks: list[tuple[float, bool]] = field(default_factory=list)

    def spared(self, began: float, attempts: list[Attempt], failed: CallError | None) -> str:
        """Nothing is sent to a model that rests, and who is sent away learns for how long."""
        resting = self.opened is not None and began < self.opened + 0.9 * BREAKER.rest
        if resting and attempts:
            return "a model that rests was asked"
        if attempts:
            return ""
        if self.opened is None:
            return "a model that is well was not asked"
        if failed is None or not failed.fatal or not failed.retry_after:
            return f"sent away without a word: {failed!r}"
        return ""

    def saw(self, attempts: list[Attempt]) -> None:
        if not attempts:
            return
        first, last = attempts[0], attempts[-1]
        limited = last.fault is not None and last.fault.error_class is ErrorClass.RATE_LIMIT
        self.throttled = self.throttled + 1 if limited else 0
        if self.opened is not None:
            self._tried(first)
            return
        if first.fault is not None and is_outage(first.fault.error_class):
            self._mark(first.ended, well=False)
        if self.opened is None and last.fault is None:
            self._mark(last.ended, well=True)

    def _tried(self, attempt: Attempt) -> None:
        if attempt.fault is None:
            self.good += 1
            if self.good >= BREAKER.successes:
                self.__init__()  # type: ignore[misc]
        elif is_outage(attempt.fault.error_class):
            self.opened, self.good = attempt.ended, 0

    def _mark(self, at: float, *, well: bool) -> None:
        self.row = 0 if well else self.row + 1
        self.marks = [mark for mark in self.marks if mark[0] >= at - BREAKER.window]
        self.marks.append((at, well))
        bad = sum(not mark[1] for mark in self.marks)
        many = len(self.marks) >= BREAKER.window_calls and self.row >= BREAKER.window_run
        mostly = many and bad >= BREAKER.window_share * len(self.marks)
        if not well and (self.row >= BREAKER.consecutive or mostly):
            self.opened, self.good = at, 0

    def fatal(self, failed: CallError | None, attempts: list[Attempt]) -> str:
        """Only a model that rests stops an analysis, or many calls that a rate limit held up, or
        a first answer that says to wait too long."""
        if failed is None or not failed.fatal:
            return ""
        if self.opened is not None or self.throttled >= OUTAGE_CALLS:
            return ""
        last = attempts[-1].fault if attempts else None
        if last is not None and last.retry_after is not None and len(attempts) == 1:
            return ""
        return f"fatal although the model is well: {failed!r}"


def _waits(attempts: list[Attempt]) -> str:
    """As long as it was told to wait, and never much longer."""
    seen: dict[ErrorClass, int] = {}
    for before, after in itertools.pairwise(attempts):
        fault = before.fault
        if fault is None:
            return "an answer was asked for again"
        waited = after.began - before.ended
        retry = seen.get(fault.error_class, 0)
        seen[fault.error_class] = retry + 1
        most = min(POLICY.ceiling, POLICY.base * 2**retry)
        if fault.retry_after is not None:
            most = 1.1 * fault.retry_after
            if waited < fault.retry_after - 1e-6:
                return f"told to wait {fault.retry_after} s, waited {waited:.2f} s"
        if waited > most + LATE:
            return f"waited {waited:.2f} s, at most {most:.2f} s was due"
    return ""


def _doubts(store: MemoryStore) -> str:
    """In doubt is what left and was not answered, and nothing else."""
    for row in store.history:
        if row.state == "failed" and row.in_doubt != (row.message == "cut off"):
            return f"{row.message!r} in doubt: {row.in_doubt}"
    return ""
