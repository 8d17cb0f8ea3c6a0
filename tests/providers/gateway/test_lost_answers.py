"""What the gateway makes of the journal's word, and of answers that a provider kept."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from providers.clients.scripted import Act, Scenario, ScriptedClient
from providers.gateway.asking import prompt_bound
from providers.gateway.embedding import pack, unpack
from providers.gateway.errors import CallError, ErrorClass, Fault, is_outage, maybe_billed
from providers.gateway.journal import (
    JournalRow,
    MemoryStore,
    StoredAnswer,
    Verdict,
    Verdicts,
)
from providers.gateway.retry import told_wait
from providers.gateway.sending import FIND_SECONDS, SLOT_SECONDS
from providers.gateway.types import CallScope, Deployment, Route, WireAnswer, WireChat
from tests.providers.support import SCHEMA, SCOPE, Bench, chat_call, deployment, scenario


class Deciding(MemoryStore):
    """A store that gives the next of some verdicts to each intent, then lets all go."""

    def __init__(self, *verdicts: Verdict) -> None:
        super().__init__()
        self.left = list(verdicts)

    def write(self, rows: Sequence[JournalRow]) -> Verdicts:
        super().write(rows)
        intents = [row for row in rows if row.state == "sent" and self.left]
        return {row.ticket: self.left.pop(0) for row in intents}


ANSWER = '{"request": "help", "sentiment": "neutral", "concern": 1}'


async def test_a_refused_call_sends_nothing_and_stops_the_caller() -> None:
    bench = Bench(store=Deciding(Verdict("refused", "The limit is reached.")))
    with pytest.raises(CallError, match="The limit is reached") as caught:
        await bench.gateway.chat(chat_call(), bench.route, SCOPE)
    assert (caught.value.error_class, caught.value.fatal) == (ErrorClass.BUDGET, True)
    assert bench.requests == [0]


async def test_a_limit_is_not_dodged_by_the_next_provider() -> None:
    bench = Bench(Scenario(), Scenario(), store=Deciding(Verdict("refused", "no")))
    with pytest.raises(CallError):
        await bench.gateway.chat(chat_call(), bench.route, SCOPE)
    assert bench.requests == [0, 0]


async def test_who_waits_looks_again_and_takes_the_others_answer() -> None:
    paid = StoredAnswer(ANSWER, "m0", 10, 5, 0, 0.5)
    store = Deciding(Verdict("wait"), Verdict("wait"), Verdict("answered", answer=paid))
    bench = Bench(store=store)
    result = await bench.gateway.chat(chat_call(), bench.route, SCOPE)
    assert (result.replayed, result.cost, result.saved, bench.requests) == (True, 0.0, 0.5, [0])
    assert result.data["request"] == "help"
    assert bench.clock.slept == [0.2, 0.2]
    assert [row.state for row in store.history] == ["sent"] * 3
    assert len({row.ticket for row in store.history}) == 3


async def test_who_waits_holds_no_slot_and_can_be_stopped() -> None:
    stopping: list[bool] = []
    bench = Bench(store=Deciding(*[Verdict("wait")] * 50))
    scope = CallScope(workspace=1, should_stop=lambda: bool(stopping))
    waiting = asyncio.create_task(bench.gateway.chat(chat_call(), bench.route, scope))
    while not bench.store.history:
        await asyncio.sleep(0.001)
    stopping.append(True)
    with pytest.raises(CallError) as caught:
        await waiting
    assert caught.value.error_class is ErrorClass.CANCELLED
    assert bench.gateway.in_flight(bench.route.targets[0]) == 0


async def test_an_intent_carries_what_the_call_can_cost_at_most() -> None:
    bench = Bench()
    call = chat_call("ü" * 1000)
    result = await bench.gateway.chat(call, bench.route, CallScope(workspace=1, project=4))
    intent = bench.store.history[0]
    assert intent.project == 4
    assert intent.reserved is not None
    assert result.cost is not None
    assert intent.reserved >= (2000 * 1.0 + call.max_tokens * 2.0) / 1e6
    assert intent.reserved > result.cost
    assert intent.open_for > bench.route.targets[0].timeouts.total


@pytest.mark.parametrize("text", ["a" * 3000, "1 2 3 " * 500, "漢字" * 400, "🙂" * 300, "\n" * 900])
def test_no_prompt_has_more_tokens_than_its_bound(text: str) -> None:
    tiktoken = pytest.importorskip("analyses.pipeline.tokens")
    call = chat_call(text)
    counted = sum(tiktoken.count_tokens(message.content) for message in call.messages)
    assert counted <= prompt_bound(call, str(SCHEMA))


async def test_an_unpriced_call_says_so_in_its_intent() -> None:
    bench = Bench()
    target = replace(bench.route.targets[0], price_in=None)
    await bench.gateway.chat(chat_call(), Route((target,)), SCOPE)
    assert bench.store.history[0].reserved is None


async def test_a_slot_that_took_too_long_gives_the_intent_back() -> None:
    """Its time would run out while others still believe in it."""
    bench = Bench()
    gate = asyncio.Event()

    class Slow(ScriptedClient):
        async def chat(self, deployment: Deployment, wire: WireChat) -> WireAnswer:
            if not gate.is_set():
                await gate.wait()
                bench.clock.now += SLOT_SECONDS + 1
            return await super().chat(deployment, wire)

    bench = Bench(clients={"slow": Slow()})
    route = Route((deployment(kind="slow", concurrency=1),))
    first = asyncio.create_task(bench.gateway.chat(chat_call("one"), route, SCOPE))
    while not bench.gateway.in_flight(route.targets[0]):
        await asyncio.sleep(0.001)
    bench.gateway._board.watch(route.targets[0]).lane.ready.resize(2)
    second = asyncio.create_task(bench.gateway.chat(chat_call("two"), route, SCOPE))
    while len(bench.store.history) < 2:
        await asyncio.sleep(0.001)
    gate.set()
    await asyncio.gather(first, second)
    await bench.settled()
    second_rows = [
        row for row in bench.store.history if row.fingerprint != bench.store.history[0].fingerprint
    ]
    assert [(row.state, row.unsent) for row in second_rows] == [
        ("sent", False), ("failed", True), ("sent", False), ("ok", False),
    ]  # fmt: skip


# Asking first


def keeping(bench: Bench) -> Route:
    return Route(tuple(replace(target, reconciles=True) for target in bench.route.targets))


async def test_a_lost_answer_is_found_and_not_paid_again() -> None:
    bench = Bench(store=Deciding(Verdict(), Verdict(doubted=3.0)))
    route = keeping(bench)
    await bench.gateway.chat(chat_call(), route, SCOPE)
    paid = bench.store.history[-1]
    bench.store.rows.clear()  # the answer never reached the journal
    found = await bench.gateway.chat(chat_call(), route, SCOPE)
    assert bench.requests == [1]
    last = bench.store.history[-1]
    assert (last.state, last.found, last.response, last.cost) == (
        "ok", True, paid.response, paid.cost,
    )  # fmt: skip
    assert found.data["sentiment"] in ("positive", "neutral", "negative")


async def test_what_the_provider_does_not_have_is_sent_after_it_had_time() -> None:
    bench = Bench(store=Deciding(Verdict(doubted=1.0)))
    await bench.gateway.chat(chat_call(), keeping(bench), SCOPE)
    assert bench.requests == [1]
    assert sum(bench.clock.slept) == pytest.approx(FIND_SECONDS - 1)
    old = Bench(store=Deciding(Verdict(doubted=60.0)))
    await old.gateway.chat(chat_call(), keeping(old), SCOPE)
    assert (old.requests, old.clock.slept) == ([1], [])


async def test_a_provider_that_keeps_nothing_is_not_asked() -> None:
    class Curious(ScriptedClient):
        async def find(self, deployment: Deployment, name: str) -> WireAnswer | None:
            raise AssertionError("asked")

    client = Curious()
    bench = Bench(clients={"curious": client}, store=Deciding(Verdict(doubted=1.0)))
    await bench.gateway.chat(chat_call(), Route((deployment(kind="curious"),)), SCOPE)
    assert client.script.requests == 1
    assert client.script.kept == {}


async def test_nothing_is_sent_while_the_provider_cannot_be_asked() -> None:
    class Away(ScriptedClient):
        asked = 0

        async def find(self, deployment: Deployment, name: str) -> WireAnswer | None:
            self.asked += 1
            if self.asked < 3:
                raise Fault(ErrorClass.NETWORK, "the connection was refused", sent=False)
            return WireAnswer(ANSWER, tokens_in=7, tokens_out=3)

    client = Away()
    verdicts = [Verdict(doubted=30.0)] * 3
    bench = Bench(clients={"away": client}, store=Deciding(*verdicts))
    route = Route((deployment(kind="away", reconciles=True),))
    result = await bench.gateway.chat(chat_call(), route, SCOPE)
    assert (client.script.requests, client.asked, result.tokens_in) == (0, 3, 7)
    await bench.settled()
    failures = [row for row in bench.store.history if row.state == "failed"]
    assert [(row.in_doubt, row.unsent) for row in failures] == [(False, True)] * 2


# What may have been billed


@pytest.mark.parametrize(
    ("act", "doubted"),
    [
        (Act.REFUSED, False),
        (Act.SERVER_ERROR, False),
        (Act.RATE_LIMIT, False),
        (Act.UNAUTHORIZED, False),
        (Act.CONTENT_FILTER, False),
        (Act.DROPPED, True),
        (Act.HANG, True),
        (Act.NOT_JSON, True),
    ],
)
async def test_which_failures_are_in_doubt(act: Act, doubted: bool) -> None:
    bench = Bench(scenario(act))
    try:
        await bench.gateway.chat(chat_call(), bench.route, SCOPE)
    except CallError:
        assert act in (Act.UNAUTHORIZED, Act.CONTENT_FILTER)
    await bench.settled()
    failure = next(row for row in bench.store.history if row.state == "failed")
    assert failure.in_doubt is doubted
    assert failure.unsent is (act is Act.REFUSED)


def test_rules_that_stand_alone() -> None:
    assert not maybe_billed(Fault(ErrorClass.TIMEOUT, status=504))
    assert maybe_billed(Fault(ErrorClass.SERVER, status=200))
    assert not is_outage(ErrorClass.RATE_LIMIT)
    assert is_outage(ErrorClass.SERVER)
    assert told_wait(Fault(ErrorClass.RATE_LIMIT, retry_after=7.0)) == 7.0


# One answer, many askers


async def test_the_same_prompt_with_changed_data_is_asked_anew() -> None:
    bench = Bench()
    changes: list[dict[str, Any]] = [
        {},
        {"prompt_version": "facets-2"},
        {"max_tokens": 801},
        {"temperature": 0.5},
        {"schema": {**SCHEMA, "description": "other"}},
        {"purpose": "names"},
    ]
    for change in changes:
        await bench.gateway.chat(chat_call(**change), bench.route, SCOPE)
    await bench.gateway.chat(chat_call("user: I cannot sign in."), bench.route, SCOPE)
    await bench.gateway.chat(chat_call(), bench.route, replace(SCOPE, workspace=2))
    assert bench.requests == [8]
    await bench.gateway.chat(chat_call(), bench.route, replace(SCOPE, session=77))
    assert bench.requests == [8]
    await bench.gateway.chat(chat_call(), bench.route, replace(SCOPE, session=77, project=5))
    assert bench.requests == [9]  # no answer crosses projects


async def test_vectors_are_replayed_bit_for_bit() -> None:
    store = Deciding()
    bench = Bench(store=store)
    first = await bench.gateway.embed(["a b", "c"], bench.route, SCOPE)
    row = bench.store.history[-1]
    assert unpack(StoredAnswer(row.response, row.model, row.tokens_in)).vectors.tobytes() == (
        first.vectors.tobytes()
    )
    assert pack(first.vectors) == row.response
    answer = StoredAnswer(row.response, row.model, row.tokens_in, cost=row.cost)
    store.left = [Verdict("answered", answer=answer)]
    again = await bench.gateway.embed(["a b", "c"], bench.route, SCOPE)
    assert again.vectors.tobytes() == first.vectors.tobytes()
    assert (again.cost, again.calls, bench.requests) == (0.0, 0, [1])
