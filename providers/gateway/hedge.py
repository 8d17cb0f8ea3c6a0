"""Asking a second target when the first one is slow and a person waits.

Dean and Barroso ("The tail at scale", CACM 2013): a second request sent after the 95th percentile
cuts the tail at few requests more. It pays twice, so it is rationed and its cost is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from providers.gateway.board import Board
from providers.gateway.clock import Clock
from providers.gateway.dispatch import Course, Dispatcher, Done
from providers.gateway.errors import Fault, maybe_billed
from providers.gateway.sending import Job, Limits, Reply
from providers.gateway.types import CallScope, Deployment, Route

T = TypeVar("T", bound=Reply)

LONGEST_WAIT = 1.2
"""Seconds after which a second target is asked at the latest (RELIABILITY §3.2: the fallback of a
silent hang was issued after 8.0 s without a hedge, after 1.2 s with one)."""

PERCENTILE = 0.95
SHARE = 0.05
"""At most so many of the calls are hedged; one is always allowed at first."""

MOST_SAVED = 5.0


@dataclass(slots=True)
class _Ration:
    """How many hedges may still be made."""

    left: float = 1.0

    def called(self) -> None:
        self.left = min(MOST_SAVED, self.left + SHARE)

    def take(self) -> bool:
        if self.left < 1:
            return False
        self.left -= 1
        return True


@dataclass(slots=True)
class _Spent(Generic[T]):
    """A job that notes what each of its sends may have cost."""

    job: Job[T]
    costs: dict[int, float | None] = field(default_factory=dict)

    def watched(self) -> Job[T]:
        """The job, watched."""
        return replace(self.job, perform=self._perform)

    async def _perform(self, target: Deployment, limits: Limits) -> T:
        row, number = self.job.row(target), len(self.costs)
        self.costs[number] = row.reserved
        try:
            reply = await self.job.perform(target, limits)
        except Fault as fault:
            if not maybe_billed(fault):
                self.costs[number] = 0.0
            raise
        self.costs[number] = self.job.settle(target, reply, row).cost
        return reply

    def total(self) -> float | None:
        """US dollars at most; ``None`` when one of the sends has no price."""
        known = [cost for cost in self.costs.values() if cost is not None]
        return sum(known) if len(known) == len(self.costs) else None


class Hedger:
    """Runs interactive calls. One per gateway."""

    def __init__(self, dispatch: Dispatcher, board: Board, clock: Clock) -> None:
        self._dispatch = dispatch
        self._board = board
        self._clock = clock
        self._ration = _Ration()

    async def run(self, job: Job[T], route: Route, scope: CallScope) -> Done[T]:
        """Send along the route; see :meth:`Dispatcher.run`.

        The slower of two is cancelled; what it left with the provider stays in doubt.
        """
        if not route.interactive or len(route.targets) < 2:
            return await self._dispatch.run(job, route, scope)
        await self._board.enter(scope.owner, route.targets)
        try:
            return await self._run(job, route, scope)
        finally:
            self._board.leave()

    async def _run(self, job: Job[T], route: Route, scope: CallScope) -> Done[T]:
        self._ration.called()
        spent = _Spent(job)
        course = Course(spent.watched(), scope, route)
        order = self._dispatch.line_up(course)
        if len(order) < 2:
            return await self._dispatch.along(course)
        lead = asyncio.ensure_future(self._dispatch.along(course))
        try:
            await self._delay(lead, order[0])
            if lead.done() or course.failures or not self._ration.take():
                return await lead
        except asyncio.CancelledError:
            await _cancelled(lead)
            raise
        course.line = order[:1]  # the others are the second one's
        other = _Spent(job)
        line = Course(other.watched(), scope, replace(route, targets=order[1:]), order[1:])
        second = asyncio.ensure_future(self._dispatch.along(line))
        return await self._faster((lead, second), (spent, other))

    async def _delay(self, lead: asyncio.Future[Done[T]], target: Deployment) -> None:
        usual = self._board.watch(target).percentile(PERCENTILE)
        wait = LONGEST_WAIT if usual is None else min(usual, LONGEST_WAIT)
        timer = asyncio.ensure_future(self._clock.sleep(wait))
        both: list[asyncio.Future[Any]] = [lead, timer]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()

    async def _faster(
        self, calls: Sequence[asyncio.Future[Done[T]]], spent: Sequence[_Spent[T]]
    ) -> Done[T]:
        """The first answer, with what the other call may have cost. Raises the last error when
        neither answered."""
        try:
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            if not any(_answered(call) for call in calls):
                await asyncio.wait(calls)
        finally:
            for call in calls:
                await _cancelled(call)
        winner = next((place for place, call in enumerate(calls) if _answered(call)), None)
        if winner is None:
            return calls[-1].result()
        done = calls[winner].result()
        return replace(done, hedged=True, extra=spent[1 - winner].total())


def _answered(call: asyncio.Future[Done[T]]) -> bool:
    return call.done() and not call.cancelled() and call.exception() is None


async def _cancelled(call: asyncio.Future[Done[T]]) -> None:
    """Have a call end, whatever it comes to."""
    call.cancel()
    await asyncio.wait([call])
    if not call.cancelled():
        call.exception()  # marks it as seen
