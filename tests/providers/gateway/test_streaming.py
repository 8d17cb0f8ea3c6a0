"""Text that arrives bit by bit: everything may be retried before the first word, nothing after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import pytest

from providers.gateway.errors import CallError, CutOff, ErrorClass, Fault
from providers.gateway.types import Route, StreamPiece, WireAnswer
from tests.providers.gateway.played import FAULTS, Door, always, first, opened, well
from tests.providers.support import SCOPE, chat_call

CALL = chat_call(schema={})
PIECES = [StreamPiece("It "), StreamPiece("works."), StreamPiece(end=WireAnswer("", "stop", 9, 3))]


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async with opened(well, well) as one:
        for client in one.clients.values():
            client.pieces = list(PIECES)
        yield one


async def read(door: Door, route: Route | None = None) -> list[str]:
    stream = door.gateway.stream(CALL, route or door.route, SCOPE)
    return [piece async for piece in stream]


def rows(door: Door) -> list[tuple[str, str, bool]]:
    return [(row.state, row.deployment, row.in_doubt) for row in door.store.history]


async def test_pieces_come_as_they_are_and_are_settled(door: Door) -> None:
    assert await read(door) == ["It ", "works."]
    sent, settled = door.store.history
    assert (sent.state, settled.state, settled.response) == ("sent", "ok", "It works.")
    assert (settled.tokens_in, settled.tokens_out) == (9, 3)
    assert settled.cost == pytest.approx((9 + 2 * 3) / 1e6)
    assert await read(door) == ["It works."]
    assert door.asked == "1 0"


async def test_tokens_are_estimated_where_none_were_told(door: Door) -> None:
    door.clients["a"].pieces[-1] = StreamPiece(end=WireAnswer(""))
    await read(door)
    settled = door.store.history[-1]
    assert settled.tokens_in > 10
    assert settled.tokens_out == len("It works.") // 4


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_before_the_first_word_it_goes_elsewhere(door: Door, fault: Fault) -> None:
    door.clients["a"].play = always(fault)
    assert await read(door) == ["It ", "works."]
    assert (door.asked, door.clock.slept) == ("1 1", [])


async def test_before_the_first_word_the_last_target_is_asked_again(door: Door) -> None:
    door.clients["a"].play = first(FAULTS["500"], FAULTS["refused"])
    assert await read(door, Route(door.route.targets[:1])) == ["It ", "works."]
    assert door.asked == "3 0"


@pytest.mark.parametrize("cut", [None, Fault(ErrorClass.NETWORK, "cut off")])
async def test_after_the_first_word_it_breaks_off_with_what_came(
    door: Door, cut: Fault | None
) -> None:
    door.clients["a"].pieces = [PIECES[0], cut] if cut else [PIECES[0]]
    stream = door.gateway.stream(CALL, door.route, SCOPE)
    assert await anext(stream) == "It "
    with pytest.raises(CutOff) as caught:
        await anext(stream)
    assert caught.value.partial == "It "
    assert (caught.value.error_class, caught.value.fatal) == (ErrorClass.NETWORK, False)
    assert door.asked == "1 0"
    await door.gateway._journal.lookup(["x"])
    await asyncio.sleep(0.05)
    assert rows(door) == [("sent", "a", False), ("failed", "a", True)]
    assert door.store.history[-1].error_class == "network"


async def test_silence_is_a_cut(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("providers.gateway.streaming.IDLE_SECONDS", 0.05)
    door.clients["a"].play = always(None)
    door.clients["a"].pieces = [PIECES[0]]
    with pytest.raises(CutOff) as caught:
        await read(door)
    assert caught.value.error_class is ErrorClass.TIMEOUT


async def test_who_stops_reading_stops_the_call(door: Door) -> None:
    door.clients["a"].play = always(None)
    door.clients["a"].pieces = [PIECES[0]]
    async with aclosing(door.gateway.stream(CALL, door.route, SCOPE)) as stream:
        assert await anext(stream) == "It "
    await asyncio.sleep(0.05)
    assert rows(door) == [("sent", "a", False), ("failed", "a", True)]
    assert door.gateway.in_flight(door.route.targets[0]) == 0


async def test_a_model_that_cannot_stream_answers_in_one_piece(door: Door) -> None:
    plain = replace(door.route.targets[0], supports_streaming=False)
    door.clients["a"].play = always_text
    assert await read(door, Route((plain,))) == ["All at once."]


async def test_errors_before_the_first_word_are_those_of_any_call(door: Door) -> None:
    for client in door.clients.values():
        client.play = always(FAULTS["key"])
    with pytest.raises(CallError) as caught:
        await read(door)
    assert (caught.value.error_class, caught.value.fatal) == (ErrorClass.AUTH, True)


def always_text(_target: object) -> WireAnswer:
    return WireAnswer("All at once.", tokens_in=5, tokens_out=3)
