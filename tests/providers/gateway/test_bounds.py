"""What the gateway holds back, refuses and never shows."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from providers.clients.scripted import Act, Scenario, ScriptedClient, Step
from providers.gateway.errors import CallError, ErrorClass
from providers.gateway.types import (
    Deployment,
    Route,
    Secret,
    WireAnswer,
    WireChat,
)
from tests.providers.support import SCOPE, Bench, QuickClock, chat_call, deployment


async def test_concurrency_is_held_and_can_be_raised() -> None:
    most = now = 0

    class Counting(ScriptedClient):
        async def chat(self, deployment: Deployment, wire: WireChat) -> WireAnswer:
            nonlocal most, now
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.01)
            now -= 1
            return await super().chat(deployment, wire)

    bench = Bench(clients={"s0": Counting()})
    target = replace(bench.route.targets[0], concurrency=3)
    route = Route((target,))

    async def burst(tag: str) -> None:
        texts = [f"user: {tag}{i}" for i in range(12)]
        await asyncio.gather(*[bench.gateway.chat(chat_call(t), route, SCOPE) for t in texts])

    await burst("a")
    assert most == 3
    bench.gateway.resize(target, 6)
    await burst("b")
    assert most == 6
    assert bench.gateway.in_flight(target) == 0


async def test_refuses_what_cannot_be_right() -> None:
    bench = Bench()
    for call in (
        chat_call(messages=()),
        chat_call(max_tokens=0),
        chat_call(schema={"type": "nonsense"}),
    ):
        with pytest.raises(CallError) as caught:
            await bench.gateway.chat(call, bench.route, SCOPE)
        assert caught.value.error_class is ErrorClass.BAD_REQUEST
    with pytest.raises(CallError) as caught:
        await bench.gateway.chat(chat_call(), Route(()), SCOPE)
    assert caught.value.fatal
    assert bench.requests == [0]


async def test_an_unknown_price_stays_unknown() -> None:
    bench = Bench()
    route = Route((replace(bench.route.targets[0], price_in=None),))
    assert (await bench.gateway.chat(chat_call(), route, SCOPE)).cost is None


async def test_an_engine_inside_the_process_is_not_journalled() -> None:
    bench = Bench()
    route = Route((replace(bench.route.targets[0], journaled=False),))
    assert (await bench.gateway.chat(chat_call(), route, SCOPE)).data
    assert bench.store.history == []


async def test_a_rough_provider_answers_everything() -> None:
    """20 % 429s, 5 % 500s, 2 % drops, 2 % malformed answers, 1 % hangs."""
    mix = (
        Step(weight=70),
        Step(act=Act.RATE_LIMIT, weight=20, retry_after=1),
        Step(act=Act.SERVER_ERROR, weight=5),
        Step(act=Act.DROPPED, weight=2),
        Step(act=Act.INVALID_JSON, weight=2),
        Step(act=Act.HANG, weight=1),
    )
    bench = Bench(Scenario(mix=mix), clock=QuickClock())
    route = Route((replace(bench.route.targets[0], concurrency=200),))
    calls = [bench.gateway.chat(chat_call(f"user: {i}"), route, SCOPE) for i in range(600)]
    results = await asyncio.gather(*calls)
    assert all(result.data for result in results)
    settled = [row for row in bench.store.history if row.state == "ok"]
    assert len(settled) == len({row.fingerprint for row in settled})
    total = sum(result.cost or 0 for result in results)
    assert total == pytest.approx(sum(row.cost or 0 for row in settled))


def test_a_deployment_never_shows_its_key() -> None:
    target = deployment(api_key=Secret("sk-very-secret"), headers=(("X-Key", "sk-very-secret"),))
    assert "very-secret" not in f"{target!r} {target} {target.api_key} {target.api_key!r}"
