"""Limiter, single flight, retry delays, fingerprints and reading of answers."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.gateway import answers
from providers.gateway.errors import ErrorClass, Fault
from providers.gateway.fingerprint import canonical, content_hash, fingerprint
from providers.gateway.flight import SingleFlight
from providers.gateway.limiter import Limiter
from providers.gateway.retry import Attempts, RetryPolicy
from tests.providers.support import SCHEMA, chat_call, deployment

SCHEMA_TEXT = canonical(SCHEMA).decode()
GOOD = '{"request": "a", "sentiment": "neutral", "concern": 2}'


async def test_limiter_admits_in_order_and_never_more_than_its_size() -> None:
    limiter, order, most = Limiter(2), [], 0

    async def work(number: int) -> None:
        nonlocal most
        async with limiter:
            most = max(most, limiter.active)
            order.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*[work(i) for i in range(10)])
    assert (most, order, limiter.active) == (2, list(range(10)), 0)


async def test_limiter_survives_cancelled_waiters_and_shrinking() -> None:
    limiter = Limiter(1)
    await limiter.__aenter__()
    waiters = [asyncio.create_task(limiter.__aenter__()) for _ in range(3)]
    await asyncio.sleep(0)
    waiters[0].cancel()
    limiter.resize(2)
    await asyncio.sleep(0)
    assert [task.done() for task in waiters] == [True, True, False]
    limiter.resize(1)
    await limiter.__aexit__(None, None, None)
    await asyncio.sleep(0)
    assert not waiters[2].done()
    await limiter.__aexit__(None, None, None)
    await waiters[2]
    assert limiter.active == 1


async def test_a_slot_given_to_a_waiter_cancelled_meanwhile_is_not_lost() -> None:
    limiter = Limiter(1)
    await limiter.__aenter__()
    waiter = asyncio.create_task(limiter.__aenter__())
    await asyncio.sleep(0)
    await limiter.__aexit__(None, None, None)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert limiter.active == 0


async def test_single_flight_shares_errors_and_forgets() -> None:
    flight: SingleFlight[int] = SingleFlight()
    runs = 0

    async def work() -> int:
        nonlocal runs
        runs += 1
        await asyncio.sleep(0.01)
        raise ValueError("no")

    outcomes = await asyncio.gather(
        *[flight.run("k", work) for _ in range(5)], return_exceptions=True
    )
    assert runs == 1
    assert all(isinstance(outcome, ValueError) for outcome in outcomes)
    with pytest.raises(ValueError, match="no"):
        await flight.run("k", work)
    assert runs == 2


@given(st.integers(0, 2**32), st.floats(0, 60))
def test_delays_stay_within_their_bounds(seed: int, told: float) -> None:
    attempts = Attempts(RetryPolicy(), random.Random(seed), started=0.0)
    for retry in range(4):
        delay = attempts.delay(Fault(ErrorClass.SERVER), now=0.0)
        assert delay is not None
        assert 0 <= delay <= min(20, 0.5 * 2**retry)
    assert attempts.delay(Fault(ErrorClass.SERVER), now=0.0) is None
    waited = attempts.delay(Fault(ErrorClass.RATE_LIMIT, retry_after=told), now=0.0)
    assert waited is not None
    assert told <= waited <= told * 1.1


def test_no_attempt_starts_after_the_total_time() -> None:
    attempts = Attempts(RetryPolicy(total=10), random.Random(1), started=0.0)
    assert attempts.delay(Fault(ErrorClass.RATE_LIMIT, retry_after=5), now=1.0) is not None
    assert attempts.delay(Fault(ErrorClass.RATE_LIMIT, retry_after=5), now=6.0) is None


def test_fingerprints_ignore_key_order_and_nothing_else() -> None:
    call = chat_call(schema={"type": "object", "required": ["a"]})
    same = chat_call(schema={"required": ["a"], "type": "object"})
    assert content_hash(call) == content_hash(same)
    target = deployment()
    key = fingerprint(1, target, "m", content_hash(call))
    assert len(key) == 64
    assert key != fingerprint(2, target, "m", content_hash(call))
    assert key != fingerprint(1, target, "m", content_hash(call), project=3)
    assert content_hash(call, 1) != content_hash(call)
    assert content_hash(chat_call("user: \ud800")) != content_hash(chat_call("user: ?"))


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"\n  {GOOD}\n",
        f"Here it is:\n```json\n{GOOD}\n```\nAnything else?",
        f"```\n{GOOD}\n```",
        f"<think>maybe {{}} or not</think>{GOOD}",
        f"I think {{this}} is right: {GOOD} {{}}",
        f"{GOOD} {GOOD}",
    ],
)
def test_finds_the_object_in_text(text: str) -> None:
    assert answers.read_answer(text, "stop", SCHEMA_TEXT).data == {
        "request": "a",
        "sentiment": "neutral",
        "concern": 2,
    }


@pytest.mark.parametrize(
    ("text", "finish", "problem"),
    [
        ("", "stop", "unreadable"),
        ("", "length", "truncated"),
        ("I cannot say", "stop", "unreadable"),
        (GOOD[:20], "length", "truncated"),
        (GOOD[:20], "stop", "truncated"),
        ("[1, 2]", "stop", "unreadable"),
        ('{"concern": NaN}', "stop", "unreadable"),
        ('{"concern": 9}', "stop", "invalid"),
        (GOOD.replace("2}", '2, "x": 1}'), "stop", "invalid"),
        ("{" * 100_000, "stop", "unreadable"),
        ('{"a":' * 50_000, "stop", "unreadable"),
        ('{"concern": ' + "9" * 5000 + "}", "stop", "unreadable"),
    ],
)
def test_names_the_problem(text: str, finish: str, problem: str) -> None:
    reading = answers.read_answer(text, finish, SCHEMA_TEXT)
    assert (reading.data, reading.problem) == (None, problem)
    assert reading.message


def test_half_a_surrogate_pair_cannot_travel_on() -> None:
    text = '{"request": "a \\ud83d b", "sentiment": "neutral", "concern": 1}'
    data = answers.read_answer(text, "stop", SCHEMA_TEXT).data
    assert data is not None
    assert data["request"].encode() == b"a ? b"
    whole = answers.read_answer(text.replace("\\ud83d", "\\ud83d\\ude00"), "stop", SCHEMA_TEXT)
    assert whole.data is not None
    assert "\U0001f600" in whole.data["request"]


@given(st.text(max_size=200))
def test_reading_never_raises(text: str) -> None:
    reading = answers.read_answer(text, "stop", SCHEMA_TEXT)
    assert (reading.data is None) == bool(reading.problem)
