"""Answers to nearly the same question, on the path of a call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from providers.gateway.gateway import Gateway
from providers.gateway.journal import GroupCommitJournal, MemoryStore, StoredAnswer
from providers.gateway.semantic import Kept, Question, SemanticCache
from providers.gateway.types import CallScope, ChatResult, Route, Semantic
from tests.providers.gateway.played import GOOD, Played
from tests.providers.gateway.test_semantic import TEXT, Store
from tests.providers.support import FastClock, chat_call, deployment

SCOPE = CallScope(workspace=1, session=9, project=4)
NEARLY = TEXT.replace("please, as", "please as")


class Answering(Store):
    """A semantic store whose questions all have the same answer."""

    def near(self, workspace: int, project: int, question: Question) -> Sequence[Kept]:
        rows = super().near(workspace, project, question)
        answer = StoredAnswer(GOOD, "test-model", 10, 5, cost=0.01)
        return [replace(row, deployment="d1", answer=answer) for row in rows]


class Room:
    """A gateway with a semantic cache, for one model."""

    def __init__(self) -> None:
        self.near = Answering()
        self.client = Played()
        self.gateway = Gateway(
            {"scripted": self.client},
            GroupCommitJournal(MemoryStore(), linger=0.001, retry_for=0.5),
            clock=FastClock(),
            semantic=SemanticCache(self.near),
        )

    async def ask(self, text: str, mode: Semantic, scope: CallScope = SCOPE) -> ChatResult:
        route = Route((deployment(),), semantic=mode)
        return await self.gateway.chat(chat_call(text), route, scope)


@pytest.fixture
def room() -> Room:
    return Room()


async def test_a_proven_route_answers_nearly_the_same_question(room: Room) -> None:
    await room.ask(TEXT, "on")
    await settled(room)
    room.near.counts = (100, 100)
    result = await room.ask(NEARLY, "on")
    await room.gateway.aclose()
    assert (result.replayed, result.cost, result.saved) == (True, 0.0, 0.01)
    assert (len(room.client.asked), room.near.served) == (1, 1)


async def test_a_route_in_the_shadow_buys_and_compares(room: Room) -> None:
    await room.ask(TEXT, "shadow")
    await settled(room)
    room.near.counts = (100, 100)
    result = await room.ask(NEARLY, "shadow")
    await room.gateway.aclose()
    assert (result.replayed, len(room.client.asked)) == (False, 2)
    assert room.near.counts == (101, 101)


@pytest.mark.parametrize("mode", ["off", "on"])
async def test_who_does_not_look_pays(room: Room, mode: Semantic) -> None:
    scope = SCOPE if mode == "off" else replace(SCOPE, project=None)
    await room.ask(TEXT, mode, scope)
    await room.ask(NEARLY, mode, scope)
    await room.gateway.aclose()
    assert len(room.client.asked) == 2
    assert room.near.rows == []


async def settled(room: Room) -> None:
    """Wait until what was bought is learned."""
    for task in list(room.gateway._nearby._learning):
        await task
