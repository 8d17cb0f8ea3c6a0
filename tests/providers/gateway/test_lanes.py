"""A deployment's room: how fast it grows, what a minute holds, and how long is waited."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.gateway.deadlines import ENOUGH, FLOOR, MANY, SHORT_FLOOR, Deadlines
from providers.gateway.errors import CallError, ErrorClass, Fault
from providers.gateway.health import Health
from providers.gateway.lanes import Lane
from providers.gateway.types import Quota, Timeouts, never
from tests.providers.support import FastClock, deployment


class RealClock:
    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def lane(clock: Any = None, **changes: Any) -> Lane:
    return Lane(deployment(**changes), clock or FastClock())


async def calls(one: Lane, count: int, seconds: float) -> int:
    """Make calls that a healthy server answers after so long; the most that were out at once."""
    most = 0

    async def call() -> None:
        nonlocal most
        async with one.ready, one.flying:
            await one.admit(100, never)
            most = max(most, one.in_flight)
            started = time.monotonic()
            await asyncio.sleep(seconds)
            one.answered(time.monotonic() - started, 50, None, 100)

    await asyncio.gather(*[call() for _ in range(count)])
    return most


async def test_room_grows_before_the_first_answer() -> None:
    """Answers of many seconds: waiting for them to double the room would cost minutes."""
    one = lane(RealClock(), concurrency=50)
    all_out = asyncio.Event()

    async def call() -> None:
        async with one.ready, one.flying:
            if one.in_flight == 50:
                all_out.set()
            await all_out.wait()

    async with asyncio.timeout(30):
        await asyncio.gather(*[call() for _ in range(60)])
    assert (one.in_flight, one.wanted) == (0, 0)


async def test_quick_calls_are_not_held_up() -> None:
    one = lane(RealClock(), concurrency=50)
    assert await calls(one, 500, 0.0) <= 50


async def test_the_worker_s_share_is_the_most() -> None:
    one = lane(RealClock(), concurrency=50)
    one.resize(5)
    assert await calls(one, 40, 0.01) == 5
    assert one.limit == 5
    one.resize(30)
    assert await calls(one, 300, 0.05) == 30


async def test_a_refusal_halves_and_single_faults_of_another_kind_do_not() -> None:
    one = lane(RealClock(), concurrency=16)
    await calls(one, 100, 0.01)
    assert one.limit == 16
    for error in (ErrorClass.SERVER, ErrorClass.NETWORK, ErrorClass.TIMEOUT, ErrorClass.QUOTA):
        one.failed(Fault(error), 0.1, 100)
    assert one.limit == 16
    one.failed(Fault(ErrorClass.RATE_LIMIT, status=429), 0.1, 100)
    assert (one.limit, one.flying.size, one.ready.size) == (8, 8, 10)


async def test_requests_a_minute_are_kept() -> None:
    clock = FastClock()
    one = lane(clock, requests_per_minute=60)
    started = clock.now
    for _ in range(120):
        await one.admit(10, never, interactive=True)
    assert clock.now - started >= 60


async def test_tokens_are_estimated_before_and_corrected_after() -> None:
    clock = FastClock()
    one = lane(clock, tokens_per_minute=6000)
    started = clock.now
    for _ in range(50):
        await one.admit(900, never)
        one.answered(0.1, 9, None, 900)
    assert clock.now - started < 5
    for _ in range(10):
        await one.admit(900, never)
        one.failed(Fault(ErrorClass.RATE_LIMIT, status=429), 0.1, 900)
    assert clock.now - started < 5
    for _ in range(20):
        await one.admit(900, never)
        one.answered(0.1, 900, None, 900)
    assert clock.now - started > 60


async def test_a_call_that_waits_for_its_minute_can_be_stopped() -> None:
    one = lane(requests_per_minute=1)
    await one.admit(10, never)
    stop = False

    def should_stop() -> bool:
        return stop

    waiting = asyncio.create_task(one.admit(10, lambda: True))
    with pytest.raises(CallError) as caught:
        await waiting
    assert caught.value.error_class is ErrorClass.CANCELLED
    clock = RealClock()
    real = lane(clock, requests_per_minute=1)
    await real.admit(10, never)
    first, second = (asyncio.create_task(real.admit(10, should_stop)) for _ in range(2))
    await asyncio.sleep(0.05)
    stop = True
    done = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(one) for one in done] == [CallError, CallError]


async def test_headers_of_an_answer_hold_the_next_calls_back() -> None:
    clock = FastClock()
    one = lane(clock)
    await one.admit(10, never)
    one.answered(0.1, 10, Quota(requests_limit=600, requests_left=0, requests_reset=20.0), 10)
    before = clock.now
    await one.admit(10, never, interactive=True)
    assert 0 < clock.now - before <= 20


async def test_processes_divide_what_a_minute_holds() -> None:
    clock = FastClock()
    one = lane(clock, requests_per_minute=600)
    one.share(Health(members=4, wanted=0))
    started = clock.now
    for _ in range(300):
        await one.admit(1, never, interactive=True)
    assert clock.now - started > 60
    one.share(Health(members=1))
    before = clock.now
    for _ in range(300):
        await one.admit(1, never, interactive=True)
    assert clock.now - before < 60


async def test_what_goes_into_a_provider_s_batch_is_not_held_up() -> None:
    clock = FastClock()
    one = lane(clock, requests_per_minute=1, concurrency=500, batched=True)
    for _ in range(300):
        await one.admit(1000, never)
    assert (clock.slept, one.limit) == ([], 500)


async def test_a_waiting_room_leaves_nothing_behind() -> None:
    """A timer that looks for more room ends with the calls that wanted it."""
    one = lane(RealClock(), concurrency=50)
    await calls(one, 20, 0.01)
    await asyncio.sleep(0.12)
    assert one.limit <= 50
    assert len(asyncio.all_tasks()) == 1


def test_the_configured_limit_holds_until_enough_is_known() -> None:
    known = Deadlines(30.0)
    for _ in range(ENOUGH - 1):
        known.answered(0.5, 100)
    assert known.limit(100) == 30.0
    known.answered(0.5, 100)
    assert known.limit(100) == FLOOR
    assert known.limit(100_000) == 30.0


def test_slow_servers_get_more_time_but_never_more_than_configured() -> None:
    known = Deadlines(30.0)
    for _ in range(100):
        known.answered(4.0, 100)
    assert 12.0 <= known.limit(100) <= 16.0
    for _ in range(100):
        known.answered(25.0, 100)
    assert known.limit(100) == 30.0


def test_single_hangs_teach_nothing_and_many_cut_off_answers_double_it() -> None:
    known = Deadlines(60.0)
    for _ in range(200):
        known.answered(1.0, 100)
    known.late(100)
    assert known.limit(100) == FLOOR
    for _ in range(12):
        known.late(100)
    assert known.limit(100) >= 4 * FLOOR
    for _ in range(400):
        known.answered(1.0, 100)
    assert known.limit(100) == FLOOR


@given(
    st.floats(0.1, 120),
    st.lists(st.tuples(st.floats(0, 500), st.integers(0, 10**9), st.booleans()), max_size=200),
)
def test_no_limit_is_ever_above_the_configured_one(
    configured: float, seen: list[tuple[float, int, bool]]
) -> None:
    known = Deadlines(configured)
    for seconds, tokens, late in seen:
        known.late(tokens) if late else known.answered(seconds, tokens)
        assert 0 < known.limit(tokens) <= configured


def test_where_every_answer_is_short_a_hang_is_known_sooner() -> None:
    known = Deadlines(30.0)
    for _ in range(MANY - 1):
        known.answered(0.2, 100)
    assert known.limit(100) == FLOOR
    known.answered(0.2, 100)
    assert known.limit(100) == SHORT_FLOOR
    for _ in range(MANY):
        known.answered(0.45, 100)
    assert SHORT_FLOOR < known.limit(100) < FLOOR


async def test_deadlines_are_of_the_deployment_s_own_answers() -> None:
    one = lane(timeouts=Timeouts(first_byte=30.0))
    for _ in range(ENOUGH):
        one.answered(0.5, 10, None, 100)
    assert (one.deadline(100), one.deadline(50_000)) == (FLOOR, 30.0)
