"""A target that said when to come back is left alone until then, where that is possible."""

from __future__ import annotations

import asyncio
import random

import pytest

from providers.gateway.errors import ErrorClass, Fault
from providers.gateway.retry import Attempts, RetryPolicy
from providers.gateway.told import ALL_REFUSED, LONGEST, Told
from providers.gateway.types import Deployment
from tests.providers.gateway.played import ANSWER, FAULTS, Door, Outcome, always, opened, well
from tests.providers.support import SCOPE, FastClock, chat_call

SECOND, TWENTY = FAULTS["429, 1 s"], FAULTS["429, 20 s"]


async def ask(door: Door, number: int) -> str:
    result = await door.gateway.chat(chat_call(f"user: {number}"), door.route, SCOPE)
    return result.provider


async def test_new_calls_pass_it_over_until_its_wait_is_over() -> None:
    async with opened(always(TWENTY), well) as door:
        assert [await ask(door, number) for number in range(5)] == ["B"] * 5
        assert door.asked == "1 5"
        door.clock.now += 19.9
        await ask(door, 5)
        assert door.asked == "1 6"
        door.clock.now += 0.2
        await ask(door, 6)
        assert door.asked == "2 7"
        assert door.clock.slept == []


async def test_when_all_of_them_asked_to_wait_the_order_is_the_route_s() -> None:
    refusals = [TWENTY, TWENTY]

    def twice(_target: Deployment) -> Outcome:
        return refusals.pop() if refusals else ANSWER

    async with opened(twice, always(SECOND)) as door:
        with pytest.raises(Exception, match="rate limit"):
            await ask(door, 0)
        asked = len(door.clients["a"].asked)
        refusals.clear()
        assert (asked, await ask(door, 1)) == (1, "A")


class Limited:
    """Refuses everything until a moment, then answers; notes when it was asked."""

    def __init__(self, clock: FastClock, until: float) -> None:
        self.clock = clock
        self.until = until
        self.times: list[float] = []

    def __call__(self, _target: Deployment) -> Outcome:
        self.times.append(self.clock.now)
        left = self.until - self.clock.now
        if left <= 0:
            return ANSWER
        return Fault(ErrorClass.RATE_LIMIT, "HTTP 429", status=429, retry_after=left)


async def test_without_another_target_new_calls_wait_for_it_together() -> None:
    clock = FastClock()
    play = Limited(clock, clock.now + 10)
    async with opened(play, clock=clock) as door:
        told = door.gateway._board.watch(door.route.targets[0]).told
        for _ in range(ALL_REFUSED):
            told.failed(Fault(ErrorClass.RATE_LIMIT, status=429, retry_after=10), clock.now)
        await asyncio.gather(*[ask(door, number) for number in range(20)])
    assert len(play.times) == 20
    assert min(play.times) >= play.until


async def test_a_share_of_refusals_holds_nobody_else_up() -> None:
    number = 0

    def fifth(_target: Deployment) -> Outcome:
        nonlocal number
        number += 1
        return SECOND if number % 5 == 1 else ANSWER

    async with opened(fifth) as door:
        for one in range(20):
            await ask(door, one)
        refused = len(door.failed_rows())
        assert sum(door.clock.slept) <= 1.1 * refused + 1e-6


def test_an_answer_to_a_later_call_takes_the_wait_back() -> None:
    told = Told()
    told.failed(TWENTY, 100.0)
    told.answered(99.0)
    assert told.left(101.0) == pytest.approx(19.0)
    told.answered(100.5)
    assert told.left(101.0) == 0.0


def test_it_counts_as_closed_when_nothing_is_answered_between() -> None:
    told = Told()
    for _ in range(ALL_REFUSED - 1):
        told.failed(TWENTY, 100.0)
    assert told.closed(100.0) == 0.0
    told.failed(TWENTY, 100.0)
    assert told.closed(100.0) == 20.0
    told.answered(99.0)
    assert (told.closed(100.0), told.left(100.0)) == (0.0, 20.0)


def test_no_wait_keeps_calls_away_for_hours() -> None:
    told = Told()
    told.failed(Fault(ErrorClass.RATE_LIMIT, status=429, retry_after=86_400.0), 0.0)
    assert told.left(0.0) == LONGEST
    told.failed(Fault(ErrorClass.SERVER, status=503, retry_after=500.0), 0.0)
    assert told.left(0.0) == LONGEST


@pytest.mark.parametrize(("answering", "most"), [(False, 3), (True, 5)])
def test_a_call_that_hangs_is_made_more_often_where_others_are_answered(
    answering: bool, most: int
) -> None:
    attempts, made = Attempts(RetryPolicy(), random.Random(1), started=0.0), 1
    while attempts.delay(FAULTS["hang"], 1.0, answering=answering) is not None:
        made += 1
    assert made == most
