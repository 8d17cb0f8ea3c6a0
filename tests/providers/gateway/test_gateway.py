from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from providers.clients.scripted import Act, Scenario, ScriptedClient, Step
from providers.gateway.errors import CallError, ErrorClass, Fault
from providers.gateway.journal import JournalRow, MemoryStore, Verdicts
from providers.gateway.types import (
    CallScope,
    Deployment,
    Route,
    WireAnswer,
    WireChat,
)
from tests.providers.support import SCOPE, Bench, chat_call, scenario


async def failing(bench: Bench, **changes: object) -> CallError:
    with pytest.raises(CallError) as caught:
        await bench.gateway.chat(chat_call(**changes), bench.route, SCOPE)
    await bench.settled()
    return caught.value


async def test_an_answer_is_checked_priced_and_journalled_before_and_after() -> None:
    bench = Bench()
    result = await bench.gateway.chat(chat_call(), bench.route, SCOPE)
    assert result.data["request"].startswith("I cannot sign in")
    assert result.cost == pytest.approx((result.tokens_in + 2 * result.tokens_out) / 1e6)
    assert (result.model, result.provider, result.attempts) == ("m0", "P0", 1)
    sent, settled = bench.store.history
    assert (sent.state, sent.response, settled.state) == ("sent", "", "ok")
    assert sent.fingerprint == settled.fingerprint
    assert (settled.workspace, settled.session, settled.owner) == (1, 9, "worker-1")


async def test_the_intent_is_committed_before_bytes_leave() -> None:
    order: list[str] = []

    class Store(MemoryStore):
        def write(self, rows: Sequence[JournalRow]) -> Verdicts:
            order.extend(row.state for row in rows)
            return super().write(rows)

    class Watched(ScriptedClient):
        async def chat(self, deployment: Deployment, wire: WireChat) -> WireAnswer:
            order.append("bytes")
            return await super().chat(deployment, wire)

    bench = Bench(clients={"s0": Watched()}, store=Store())
    await bench.gateway.chat(chat_call(), bench.route, SCOPE)
    assert order == ["sent", "bytes", "ok"]


async def test_a_replay_pays_nothing() -> None:
    bench = Bench()
    first = await bench.gateway.chat(chat_call(), bench.route, SCOPE)
    again = await bench.gateway.chat(chat_call(), bench.route, SCOPE)
    assert again.replayed
    assert again.data == first.data
    assert (again.cost, again.saved) == (0.0, first.cost)
    assert bench.requests == [1]
    assert bench.store.savings == [], "it is the answer of the same analysis"


async def test_an_answer_that_serves_another_analysis_saves_a_call() -> None:
    bench = Bench()
    first = await bench.gateway.chat(chat_call(), bench.route, SCOPE)
    again = await bench.gateway.chat(chat_call(), bench.route, replace(SCOPE, session=10))
    await bench.gateway.aclose()
    assert again.replayed
    assert [answer.cost for answer in bench.store.savings] == [first.cost]


@pytest.mark.parametrize(
    "changes",
    [
        {"text": "user: other"},
        {"prompt_version": "facets-2"},
        {"max_tokens": 801},
        {"temperature": 0.5},
        {"purpose": "names"},
    ],
)
async def test_anything_that_may_change_the_answer_is_asked_anew(changes: dict) -> None:
    bench = Bench()
    await bench.gateway.chat(chat_call(), bench.route, SCOPE)
    await bench.gateway.chat(chat_call(**changes), bench.route, SCOPE)
    assert bench.requests == [2]


async def test_no_answer_crosses_workspaces_or_models() -> None:
    bench = Bench()
    await bench.gateway.chat(chat_call(), bench.route, SCOPE)
    await bench.gateway.chat(chat_call(), bench.route, replace(SCOPE, workspace=2))
    other = Route((replace(bench.route.targets[0], model="m9"),))
    await bench.gateway.chat(chat_call(), other, SCOPE)
    assert bench.requests == [3]


async def test_fifty_identical_calls_at_once_are_one() -> None:
    bench = Bench(Scenario(latency=0.02))
    calls = [bench.gateway.chat(chat_call(), bench.route, SCOPE) for _ in range(50)]
    results = await asyncio.gather(*calls)
    assert bench.requests == [1]
    assert sum(not result.replayed for result in results) == 1
    assert sum(result.cost or 0 for result in results) == results[0].cost


async def test_a_cancelled_leader_hands_over() -> None:
    bench = Bench(Scenario(latency=0.05))
    leader = asyncio.create_task(bench.gateway.chat(chat_call(), bench.route, SCOPE))
    await bench.asked(1)
    follower = asyncio.create_task(bench.gateway.chat(chat_call(), bench.route, SCOPE))
    await asyncio.sleep(0)
    leader.cancel()
    assert (await follower).data
    with pytest.raises(asyncio.CancelledError):
        await leader


@pytest.mark.parametrize(
    "act", [Act.RATE_LIMIT, Act.SERVER_ERROR, Act.REFUSED, Act.DROPPED, Act.HANG, Act.NOT_JSON]
)
async def test_passing_faults_are_retried_and_each_is_recorded(act: Act) -> None:
    bench = Bench(scenario(act))
    result = await bench.gateway.chat(chat_call(), bench.route, SCOPE)
    await bench.settled()
    assert result.attempts == 2
    states = [state for state, _ in bench.states()]
    assert states == ["sent", "failed", "sent", "ok"]
    assert bench.states()[1][1]


@pytest.mark.parametrize(
    ("act", "error_class"),
    [
        (Act.UNAUTHORIZED, ErrorClass.AUTH),
        (Act.QUOTA, ErrorClass.QUOTA),
        (Act.NOT_FOUND, ErrorClass.NOT_FOUND),
    ],
)
async def test_lasting_faults_stop_at_once_and_are_fatal(act: Act, error_class: ErrorClass) -> None:
    bench = Bench(Scenario(mix=(Step(act=act),)))
    error = await failing(bench)
    assert (error.error_class, error.fatal) == (error_class, True)
    assert bench.requests == [1]
    assert bench.states() == [("sent", ""), ("failed", error_class.value)]


async def test_a_call_that_cannot_succeed_is_not_fatal_to_the_others() -> None:
    for act in (Act.CONTEXT_LENGTH, Act.CONTENT_FILTER):
        error = await failing(Bench(Scenario(mix=(Step(act=act),))))
        assert not error.fatal


async def test_a_lasting_outage_becomes_fatal() -> None:
    bench = Bench(Scenario(mix=(Step(act=Act.REFUSED),)))
    errors = [await failing(bench, text=f"user: {i}") for i in range(6)]
    assert [error.fatal for error in errors] == [False] * 4 + [True] * 2
    assert {error.error_class for error in errors} == {ErrorClass.NETWORK}
    assert [error.retry_after is not None for error in errors] == [False] * 4 + [True] * 2
    assert bench.requests == [4 * 5 + 1]


async def test_retry_after_is_a_floor() -> None:
    bench = Bench(scenario(Step(act=Act.RATE_LIMIT, retry_after=7)))
    await bench.gateway.chat(chat_call(), bench.route, SCOPE)
    assert 7 <= sum(bench.clock.slept) <= 7.7 + 1e-6


async def test_a_wait_that_is_too_long_is_not_waited() -> None:
    bench = Bench(scenario(Step(act=Act.RATE_LIMIT, retry_after=3600)))
    error = await failing(bench)
    assert (error.error_class, error.fatal) == (ErrorClass.RATE_LIMIT, True)
    assert bench.clock.slept == []


async def test_attempts_are_bounded() -> None:
    bench = Bench(Scenario(mix=(Step(act=Act.SERVER_ERROR),)))
    error = await failing(bench)
    assert error.error_class is ErrorClass.SERVER
    assert bench.requests == [5]


async def test_a_route_goes_on_to_its_next_target_without_waiting() -> None:
    for act in (Act.SERVER_ERROR, Act.REFUSED, Act.DROPPED, Act.RATE_LIMIT, Act.UNAUTHORIZED):
        bench = Bench(Scenario(mix=(Step(act=act),)), Scenario())
        result = await bench.gateway.chat(chat_call(), bench.route, SCOPE)
        assert (result.provider, bench.requests, bench.clock.slept) == ("P1", [1, 1], [])
        again = await bench.gateway.chat(chat_call(), bench.route, SCOPE)
        assert (again.replayed, again.provider) == (True, "P1")


async def test_a_refused_request_is_not_carried_elsewhere() -> None:
    bench = Bench(Scenario(mix=(Step(act=Act.CONTENT_FILTER),)), Scenario())
    assert (await failing(bench)).error_class is ErrorClass.CONTENT_FILTER
    assert bench.requests == [1, 0]


@pytest.mark.parametrize("act", [Act.WRONG_SCHEMA, Act.INVALID_JSON, Act.EMPTY])
async def test_a_bad_answer_is_repaired_once(act: Act) -> None:
    bench = Bench(scenario(act))
    result = await bench.gateway.chat(chat_call(), bench.route, SCOPE)
    assert result.repaired
    assert bench.requests == [2]
    assert result.cost is not None
    rows = [row for row in bench.store.history if row.state == "ok"]
    assert result.cost == pytest.approx(sum(row.cost or 0 for row in rows))


async def test_the_repair_carries_what_was_wrong() -> None:
    seen: list[WireChat] = []

    class Watched(ScriptedClient):
        async def chat(self, deployment: Deployment, wire: WireChat) -> WireAnswer:
            seen.append(wire)
            return await super().chat(deployment, wire)

    bench = Bench(clients={"s0": Watched(scenario(Act.WRONG_SCHEMA))})
    await bench.gateway.chat(chat_call(), bench.route, SCOPE)
    assert seen[1].messages[-2].content == '{"unexpected": true}'
    assert "required" in seen[1].messages[-1].content


@pytest.mark.parametrize("act", [Act.WRONG_SCHEMA, Act.INVALID_JSON])
async def test_a_repair_that_did_not_help_is_followed_by_the_question_anew(act: Act) -> None:
    bench = Bench(scenario(act, Act.WRONG_SCHEMA))
    result = await bench.gateway.chat(chat_call(), bench.route, SCOPE)
    assert (result.repaired, bench.requests) == (True, [3])


async def test_an_answer_that_stays_bad_fails_only_this_call() -> None:
    bench = Bench(Scenario(mix=(Step(act=Act.WRONG_SCHEMA),)))
    error = await failing(bench)
    assert (error.error_class, error.fatal) == (ErrorClass.BAD_ANSWER, False)
    assert bench.requests == [3]


async def test_asking_again_another_day_is_not_answered_by_the_old_failure() -> None:
    bench = Bench(scenario(Act.WRONG_SCHEMA, Act.WRONG_SCHEMA, Act.WRONG_SCHEMA))
    await failing(bench)
    result = await bench.gateway.chat(chat_call(), bench.route, SCOPE)
    assert (result.replayed, bench.requests) == (False, [4])


async def test_a_truncated_answer_gets_more_room_once() -> None:
    limits: list[int] = []

    class Watched(ScriptedClient):
        async def chat(self, deployment: Deployment, wire: WireChat) -> WireAnswer:
            limits.append(wire.max_tokens)
            return await super().chat(deployment, wire)

    bench = Bench(clients={"s0": Watched(scenario(Act.TRUNCATED))})
    result = await bench.gateway.chat(chat_call(max_tokens=100), bench.route, SCOPE)
    assert limits == [100, 300]
    assert result.data


async def test_a_replayed_repair_pays_nothing_either() -> None:
    bench = Bench(scenario(Act.TRUNCATED, Act.WRONG_SCHEMA))
    first = await bench.gateway.chat(chat_call(), bench.route, SCOPE)
    again = await bench.gateway.chat(chat_call(), bench.route, SCOPE)
    assert bench.requests == [3]
    assert (again.data, again.cost, again.replayed) == (first.data, 0.0, True)


async def test_falls_back_to_json_in_text_and_remembers() -> None:
    bench = Bench(Scenario(json_schema=False))
    for i in range(3):
        assert (await bench.gateway.chat(chat_call(f"user: {i}"), bench.route, SCOPE)).data
    assert bench.requests == [4]
    assert bench.gateway.capabilities(bench.route.targets[0]).schema is False


async def test_learns_what_a_reasoning_model_refuses() -> None:
    bench = Bench(Scenario(reasoning=True))
    for i in range(2):
        assert (await bench.gateway.chat(chat_call(f"user: {i}"), bench.route, SCOPE)).data
    assert bench.requests == [4]
    assert bench.gateway.capabilities(bench.route.targets[0]).schema is True


async def test_a_server_that_ignores_the_schema_is_given_it_in_text() -> None:
    class Ignorant(ScriptedClient):
        async def chat(self, deployment: Deployment, wire: WireChat) -> WireAnswer:
            if wire.schema is not None:
                wire = replace(wire, schema=None)
                if "JSON Schema" not in "".join(m.content for m in wire.messages):
                    return WireAnswer("I would say it is about signing in.")
            return await super().chat(deployment, wire)

    client = Ignorant()
    bench = Bench(clients={"s0": client})
    result = await bench.gateway.chat(chat_call(), bench.route, SCOPE)
    assert result.repaired
    second = await bench.gateway.chat(chat_call("user: b"), bench.route, SCOPE)
    assert not second.repaired


async def test_stops_before_the_call_and_while_waiting() -> None:
    stop = False
    scope = CallScope(1, should_stop=lambda: stop)
    bench = Bench(Scenario(mix=(Step(act=Act.RATE_LIMIT, retry_after=30),)))

    async def sleep(seconds: float) -> None:
        nonlocal stop
        bench.clock.now += seconds
        stop = bench.clock.now > 1001

    bench.clock.sleep = sleep  # type: ignore[method-assign]
    with pytest.raises(CallError) as caught:
        await bench.gateway.chat(chat_call(), bench.route, scope)
    assert caught.value.error_class is ErrorClass.CANCELLED
    assert bench.clock.now < 1002
    with pytest.raises(CallError):
        await bench.gateway.chat(chat_call(), bench.route, scope)
    assert bench.requests == [1]


async def test_what_was_stopped_before_it_was_sent_is_not_left_in_doubt() -> None:
    stop = False
    scope = CallScope(1, should_stop=lambda: stop)
    bench = Bench(Scenario(latency=0.5))
    route = Route((replace(bench.route.targets[0], concurrency=4),))
    calls = [
        asyncio.create_task(bench.gateway.chat(chat_call(f"user: {i}"), route, scope))
        for i in range(12)
    ]
    await bench.asked(4)
    stop = True
    calls[4].cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    await bench.settled()
    assert [isinstance(one, BaseException) for one in outcomes] == [False] * 4 + [True] * 8
    states = sorted((row.state, row.error_class) for row in bench.store.rows.values())
    assert states == [("failed", "cancelled")] + [("ok", "")] * 4


async def test_a_call_cancelled_on_the_wire_stays_in_doubt() -> None:
    bench = Bench(Scenario(latency=1))
    call = asyncio.create_task(bench.gateway.chat(chat_call(), bench.route, SCOPE))
    await bench.asked(1)
    call.cancel()
    await asyncio.wait([call])
    await bench.settled()
    assert bench.states() == [("sent", ""), ("failed", "cancelled")]
    assert [row.in_doubt for row in bench.store.history] == [False, True]


async def test_a_bare_429_is_quota_unless_the_provider_answers_meanwhile() -> None:
    class Bare(ScriptedClient):
        async def chat(self, deployment: Deployment, wire: WireChat) -> WireAnswer:
            raise Fault(ErrorClass.QUOTA, "HTTP 429 without a time to wait", unsure=True)

    bench = Bench(clients={"s0": Bare()})
    error = await failing(bench)
    assert (error.error_class, error.fatal) == (ErrorClass.QUOTA, True)
