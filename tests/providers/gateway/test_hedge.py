"""A second target for people who wait, and what it costs."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from providers.gateway.errors import CallError, ErrorClass
from providers.gateway.hedge import LONGEST_WAIT
from providers.gateway.types import ChatResult, Route
from tests.providers.gateway.played import (
    FAULTS,
    Door,
    Outcome,
    StillClock,
    always,
    opened,
    well,
)
from tests.providers.support import SCOPE, FastClock, chat_call

PRICE = (10 * 1.0 + 5 * 2.0) / 1e6


def waiting(door: Door) -> Route:
    return replace(door.route, interactive=True)


async def ask(door: Door, route: Route, number: int = 0) -> ChatResult:
    return await door.gateway.chat(chat_call(f"user: {number}"), route, SCOPE)


async def test_a_slow_first_target_is_overtaken_and_its_cost_told() -> None:
    async with opened(always(None), well) as door:
        result = await ask(door, waiting(door))
        assert (result.provider, result.hedged, door.asked) == ("B", True, "1 1")
        assert door.clock.slept == [LONGEST_WAIT]
        assert door.clients["a"].cancelled == 1
    lost = next(row for row in door.store.history if row.state == "failed")
    assert (lost.deployment, lost.error_class, lost.in_doubt) == ("a", "cancelled", True)
    assert result.cost == pytest.approx(PRICE + (lost.reserved or 0.0))


async def test_who_asks_for_an_analysis_never_pays_twice() -> None:
    async with opened(always(None), well, clock=StillClock()) as door:
        call = asyncio.create_task(ask(door, door.route))
        await asyncio.sleep(0.05)
        assert door.asked == "1 0"
        door.clients["a"].gate.set()
        result = await call
    assert (result.provider, result.hedged) == ("A", False)
    assert result.cost == pytest.approx(PRICE)


async def test_hedges_are_few() -> None:
    async with opened(always(None), well, clock=StillClock()) as door:
        slow = door.clients["a"]
        for number in range(60):
            slow.gate.clear()
            call = asyncio.create_task(ask(door, waiting(door), number))
            while not call.done():
                await asyncio.sleep(0.002)
                if door.clock.now > 1000 + 1.5 * (number + 1):
                    slow.gate.set()
                door.clock.now += 0.5
            await call
    assert 1 <= len(door.clients["b"].asked) <= 1 + 0.05 * 60


async def test_the_usual_latency_decides_when() -> None:
    async with opened(well, well) as door:
        watch = door.gateway._board.watch(door.route.targets[0])
        for _ in range(100):
            watch.answered(0.0, 0.3, 10, recovered=False)
        door.clients["a"].play = always(None)
        assert (await ask(door, waiting(door))).hedged
    assert door.clock.slept == [0.3]


async def test_a_first_target_that_fails_fast_is_an_ordinary_failover() -> None:
    class Asleep(FastClock):
        async def sleep(self, seconds: float) -> None:
            await asyncio.Event().wait()

    async with opened(always(FAULTS["500"]), well, clock=Asleep()) as door:
        result = await ask(door, waiting(door))
    assert (result.provider, result.hedged, door.asked) == ("B", False, "1 1")


async def test_the_first_may_still_win() -> None:
    async with opened(always(None), always(None)) as door:
        call = asyncio.create_task(ask(door, waiting(door)))
        while door.asked != "1 1":
            await asyncio.sleep(0.001)
        door.clients["a"].gate.set()
        result = await call
    assert (result.provider, result.hedged) == ("A", True)
    assert door.clients["b"].cancelled == 1


async def test_the_first_answers_although_the_second_fails() -> None:
    async with opened(always(None), always(FAULTS["key"])) as door:
        call = asyncio.create_task(ask(door, waiting(door)))
        while door.asked != "1 1":
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        door.clients["a"].gate.set()
        result = await call
    assert (result.provider, result.hedged) == ("A", True)
    assert result.cost == pytest.approx(PRICE)


async def test_when_both_fail_the_call_fails() -> None:
    left: list[Outcome] = [None]
    async with opened(
        lambda _: left.pop() if left else FAULTS["key"], always(FAULTS["key"])
    ) as door:
        door.clients["a"].gate.clear()
        call = asyncio.create_task(ask(door, waiting(door)))
        while door.asked != "1 1":
            await asyncio.sleep(0.001)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert door.clients["a"].cancelled == 1
        with pytest.raises(CallError) as caught:
            await ask(door, waiting(door), 1)
    assert caught.value.error_class is ErrorClass.AUTH
