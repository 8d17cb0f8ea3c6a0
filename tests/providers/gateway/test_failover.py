"""Going on to another target: at once, once, and not at all when it is known to rest."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from providers.gateway.errors import TRAITS, CallError, ErrorClass, Fault
from providers.gateway.health import BY_HAND, Health, MemoryHealth
from providers.gateway.retry import RetryPolicy
from providers.gateway.types import CallScope, Route, Secret
from tests.providers.gateway.played import FAULTS, Door, StillClock, always, first, opened, well
from tests.providers.support import SCOPE, chat_call

SERVER = FAULTS["500"]


async def ask(door: Door, number: int = 0, route: Route | None = None) -> str:
    """Who answered."""
    result = await door.gateway.chat(chat_call(f"user: {number}"), route or door.route, SCOPE)
    return result.provider


async def failing(door: Door, number: int = 0) -> CallError:
    with pytest.raises(CallError) as caught:
        await ask(door, number)
    return caught.value


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_the_first_failure_goes_elsewhere_at_once(fault: Fault) -> None:
    async with opened(always(fault), well) as door:
        result = await door.gateway.chat(chat_call(), door.route, SCOPE)
    assert (result.provider, result.model, result.attempts) == ("B", "m-b", 2)
    assert (door.asked, door.clock.slept) == ("1 1", [])
    assert door.failed_rows() == [("a", fault.error_class)]


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS.values() if TRAITS[fault.error_class].scope != "call"],
    ids=[name for name, fault in FAULTS.items() if TRAITS[fault.error_class].scope != "call"],
)  # fmt: skip
async def test_once_it_opened_nobody_pays_for_it(fault: Fault) -> None:
    async with opened(always(fault), well) as door:
        for number in range(12):
            assert await ask(door, number) == "B"
        limited = fault.error_class is ErrorClass.RATE_LIMIT
        lasting = not limited and not TRAITS[fault.error_class].retryable and not fault.unsure
        assert door.asked == ("1 12" if limited or lasting else "5 12")
        assert door.clock.slept == []


async def test_only_the_last_healthy_target_is_asked_again() -> None:
    async with opened(always(SERVER), first(SERVER, SERVER)) as door:
        assert await ask(door) == "B"
    assert door.asked == "1 3"
    assert 0 < sum(door.clock.slept) <= 0.5 + 1.0


async def test_a_refusal_of_the_text_goes_nowhere() -> None:
    for error_class in (ErrorClass.CONTENT_FILTER, ErrorClass.BAD_REQUEST):
        fault = Fault(error_class, "HTTP 400", status=400, rejected="temperature")
        async with opened(always(fault), well) as door:
            error = await failing(door)
        assert (error.error_class, error.fatal) == (error_class, False)
        assert door.asked.endswith(" 0")


async def test_a_storm_of_refusals_goes_elsewhere_and_opens() -> None:
    sound = Fault(ErrorClass.BAD_REQUEST, "HTTP 400", status=400)
    async with opened(always(sound), well) as door:
        for number in range(19):
            assert (await failing(door, number)).error_class is ErrorClass.BAD_REQUEST
        assert [await ask(door, number) for number in range(19, 30)] == ["B"] * 11
        assert door.gateway._board.watch(door.route.targets[0]).breaker.state == "open"


async def test_a_single_target_opens_too_and_says_when_it_is_tried_again() -> None:
    async with opened(always(SERVER)) as door:
        errors = [await failing(door, number) for number in range(4)]
        assert {error.fatal for error in errors} == {False}
        assert (await failing(door, 4)).fatal
        asked = door.asked
        error = await failing(door, 5)
        assert (error.error_class, error.fatal, door.asked) == (ErrorClass.SERVER, True, asked)
        assert error.retry_after is not None
        assert 9 <= error.retry_after <= 11
        assert "tried again" in error.message
        door.clients["a"].play = well
        door.clock.now += error.retry_after
        assert [await ask(door, number) for number in (5, 6, 7)] == ["A"] * 3
        assert door.gateway._board.watch(door.route.targets[0]).breaker.state == "closed"


async def test_half_open_sends_one_and_the_others_wait_for_its_outcome() -> None:
    async with opened(always(None), clock=StillClock()) as door:
        breaker = door.gateway._board.watch(door.route.targets[0]).breaker
        for _ in range(5):
            breaker.failed(door.clock.now, SERVER)
        sent = int(door.asked)
        door.clock.now += 12
        calls = [asyncio.create_task(ask(door, 10 + number)) for number in range(6)]
        await until(lambda: int(door.asked) == sent + 1)
        await asyncio.sleep(0.05)
        assert int(door.asked) == sent + 1
        door.clients["a"].play = well
        door.clients["a"].gate.set()
        assert await asyncio.gather(*calls) == ["A"] * 6


async def test_a_failed_trial_goes_elsewhere_and_rests_longer() -> None:
    async with opened(always(SERVER), well) as door:
        for number in range(6):
            await ask(door, number)
        before = door.gateway._board.watch(door.route.targets[0]).breaker.health(door.clock.now)
        door.clock.now += before.wait
        assert await ask(door, 7) == "B"
        assert door.asked == "6 7"
        after = door.gateway._board.watch(door.route.targets[0]).breaker.health(door.clock.now)
        assert (after.state, after.opens) == ("open", 2)
        assert after.wait > before.wait


async def test_one_text_that_trips_a_server_opens_nothing() -> None:
    def trips(_target: object) -> Fault:
        return SERVER

    async with opened(trips) as door:
        error = await failing(door)
        assert (error.fatal, door.asked) == (False, "5")
        door.clients["a"].play = well
        assert await ask(door, 1) == "A"


async def test_further_attempts_are_rationed() -> None:
    policy = RetryPolicy(budget_most=3.0, budget_rate=0.0)
    async with opened(always(FAULTS["refused"]), policy=policy) as door:
        error = await failing(door)
        assert (door.asked, error.error_class) == ("4", ErrorClass.NETWORK)
        await failing(door, 1)
        assert door.asked == "5"


async def test_a_person_is_not_kept_waiting() -> None:
    for fault, asked in ((SERVER, "2"), (FAULTS["429, 20 s"], "1")):
        async with opened(always(fault)) as door:
            with pytest.raises(CallError):
                await ask(door, 0, replace(door.route, interactive=True))
        assert door.asked == asked


async def test_waits_that_the_provider_asks_for_are_not_rationed() -> None:
    policy = RetryPolicy(budget_most=0.0, budget_rate=0.0)
    async with opened(first(*[FAULTS["429, 1 s"]] * 4), policy=policy) as door:
        assert await ask(door) == "A"
    assert door.asked == "5"


async def test_all_attempts_of_a_call_share_one_time_limit() -> None:
    slow = FAULTS["429, 20 s"]
    policy = RetryPolicy(total=50.0)
    async with opened(always(slow), policy=policy) as door:
        await failing(door)
    assert sum(door.clock.slept) <= 50


async def test_the_spare_key_is_tried_at_once_and_remembered() -> None:
    keys = {"api_key": Secret("old"), "spare_key": Secret("new")}

    def only_new(target: object) -> object:
        good = target.api_key == Secret("new")  # type: ignore[attr-defined]
        return well(target) if good else FAULTS["key"]  # type: ignore[arg-type]

    async with opened(only_new, well, targets=keys) as door:  # type: ignore[arg-type]
        assert [await ask(door, number) for number in range(3)] == ["A"] * 3
        assert door.asked == "4 0"
        assert door.failed_rows() == [("a", "auth")]
        changed = replace(door.route.targets[0], api_key=Secret("new"))
        assert await ask(door, 9, Route((changed,))) == "A"


async def test_two_bad_keys_are_a_bad_target() -> None:
    keys = {"api_key": Secret("old"), "spare_key": Secret("older")}
    async with opened(always(FAULTS["quota"]), well, targets=keys) as door:
        assert [await ask(door, number) for number in range(3)] == ["B"] * 3
    assert door.asked == "2 3"


async def test_a_target_that_is_too_small_is_passed_over() -> None:
    async with opened(well, well) as door:
        small = replace(door.route.targets[0], context_tokens=1000)
        assert await ask(door, 0, Route((small, door.route.targets[1]))) == "A"
        text = "x" * 2000
        result = await door.gateway.chat(
            chat_call(text), Route((small, door.route.targets[1])), SCOPE
        )
        assert result.provider == "B"
        with pytest.raises(CallError) as caught:
            await door.gateway.chat(chat_call(text + "y"), Route((small,)), SCOPE)
    assert (caught.value.error_class, caught.value.fatal) == (ErrorClass.CONTEXT_LENGTH, False)


async def test_calls_that_wait_for_a_slot_leave_when_the_target_opens() -> None:
    async with opened(always(None), well, targets={"concurrency": 6}) as door:
        calls = [asyncio.create_task(ask(door, number)) for number in range(30)]
        await until(lambda: int(door.asked.split()[0]) == 6)
        client = door.clients["a"]
        breaker = door.gateway._board.watch(door.route.targets[0]).breaker
        for _ in range(5):
            breaker.failed(door.clock.now, SERVER)
        client.gate.set()
        assert sorted(await asyncio.gather(*calls)) == ["A"] * 6 + ["B"] * 24
    assert client.asked == client.asked[:6]


async def test_fifty_identical_calls_are_one_even_if_the_first_is_stopped() -> None:
    stopped = False
    async with opened(always(None)) as door:
        scope = CallScope(workspace=1, should_stop=lambda: stopped)
        lead = asyncio.create_task(door.gateway.chat(chat_call(), door.route, scope))
        await until(lambda: door.asked == "1")
        calls = [
            asyncio.create_task(door.gateway.chat(chat_call(), door.route, SCOPE))
            for _ in range(50)
        ]
        await asyncio.sleep(0.01)
        door.clients["a"].play = first(None)
        lead.cancel()
        await until(lambda: door.asked == "2")
        door.clients["a"].gate.set()
        results = await asyncio.gather(*calls)
    assert door.asked == "2"
    assert sum(not result.replayed for result in results) == 1


async def test_a_leader_that_was_asked_to_stop_hands_over() -> None:
    stop: list[bool] = []
    async with opened(first(FAULTS["429, 20 s"])) as door:
        scope = CallScope(workspace=1, should_stop=lambda: bool(stop))
        sleep = door.clock.sleep

        async def stopping(seconds: float) -> None:
            stop.append(True)
            await asyncio.sleep(0)
            await sleep(seconds)

        door.clock.sleep = stopping  # type: ignore[method-assign]
        lead = asyncio.create_task(door.gateway.chat(chat_call(), door.route, scope))
        await asyncio.sleep(0)
        other = asyncio.create_task(door.gateway.chat(chat_call(), door.route, SCOPE))
        assert (await other).provider == "A"
        with pytest.raises(CallError):
            await lead


# Sharing


async def test_two_processes_share_a_breaker() -> None:
    health = MemoryHealth()
    async with opened(always(SERVER), well, health=health) as one:
        for number in range(5):
            await ask(one, number)
    assert health.states["a"].state == "open"
    (change,) = health.changes
    assert (change.reason, change.went_to, change.session) == ("server", "B", 9)
    assert change.switch_ms is not None
    async with opened(well, well, health=health) as other:
        assert await ask(other) == "B"
        assert other.asked == "0 1"
        other.clock.now += 12
        health.pass_time(12)
        assert [await ask(other, number) for number in (1, 2)] == ["A", "A"]
    assert health.states["a"].state == "closed"


async def test_one_process_tries_at_a_time() -> None:
    health = MemoryHealth()
    health.states["a"] = Health("open", version=1, reason="server", opens=1, wait=0.0)
    async with opened(always(None), well, health=health) as one:
        trying = asyncio.create_task(ask(one))
        await until(lambda: one.asked == "1 0")
        async with opened(well, well, health=health) as other:
            assert [await ask(other, number) for number in range(3)] == ["B"] * 3
            assert other.asked == "0 3"
        one.clients["a"].gate.set()
        assert await trying == "A"


async def test_a_rest_by_hand_is_kept_and_explained() -> None:
    health = MemoryHealth()
    health.states["a"] = Health("rested", version=1, reason=BY_HAND)
    async with opened(well, health=health) as door:
        error = await failing(door)
    assert (error.fatal, error.retry_after, door.asked) == (True, None, "0")
    assert "rests by hand" in error.message


async def test_what_was_seen_is_told() -> None:
    health = MemoryHealth()
    async with opened(first(SERVER), well, health=health) as door:
        for number in range(3):
            await ask(door, number)
    seen = {name: [one for one in health.seen if one.deployment == name] for name in "ab"}
    assert sum(one.answered for one in seen["a"]) == 2
    assert sum(one.answered for one in seen["b"]) == 1
    assert sum(one.recovered for one in seen["b"]) == 1
    assert sum(one.failed for one in seen["a"]) == 1
    assert sum(one.errors.get("server", 0) for one in seen["a"]) == 1
    assert sum(sum(one.latencies) for one in seen["a"]) == 2
    assert sum(one.tokens for one in seen["a"]) == 30


async def test_a_store_that_fails_costs_no_call_and_forgets_nothing() -> None:
    class Away(MemoryHealth):
        down = True

        def exchange(self, *args: object) -> dict[str, Health]:  # type: ignore[override]
            if self.down:
                raise OSError("away")
            return dict(super().exchange(*args))  # type: ignore[arg-type]

        def take_probe(self, *args: object) -> Health | None:  # type: ignore[override]
            raise OSError("away")

    health = Away()
    async with opened(first(*[SERVER] * 5), well, health=health) as door:
        for number in range(5):
            assert await ask(door, number) == "B"
        door.clock.now += 12
        assert await ask(door, 6) == "A"
        health.down = False
    assert sum(one.answered for one in health.seen) == 6
    assert health.changes


async def until(true: object) -> None:
    async with asyncio.timeout(10):
        while not true():  # type: ignore[operator]
            await asyncio.sleep(0.001)
