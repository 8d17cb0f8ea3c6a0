"""Nearly the same questions: what keeps them apart, and when a stored answer may serve."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from providers.gateway import semantic
from providers.gateway.journal import StoredAnswer
from providers.gateway.semantic import Kept, Lesson, Question, SemanticCache, Vector
from providers.gateway.types import CallScope, ChatCall, ChatMessage, Deployment, Route

TARGET = Deployment(id="1", provider="Test", kind="openai", model="m")
SCOPE = CallScope(workspace=1, session=9, project=4)
TEXT = (
    "My parcel with two lamps arrived on Monday and one of the lamps was broken at the base. "
    "I would like a replacement, please, as the lamp was a present for my sister."
)
ANSWER = {"request": "a replacement for a broken lamp", "resolved": False}


class Store:
    """A semantic store in memory."""

    def __init__(self) -> None:
        self.rows: list[tuple[tuple[int, int, str, str], Kept]] = []
        self.counts = (0, 0)
        self.served = 0
        self.broken = False

    def near(self, workspace: int, project: int, question: Question) -> Sequence[Kept]:
        if self.broken:
            raise OSError("away")
        key = (workspace, project, question.space, question.guard)
        return [kept for place, kept in self.rows if place == key]

    def add(
        self, workspace: int, project: int, question: Question, vector: Vector, fingerprint: str
    ) -> None:
        kept = Kept(vector, "1", fingerprint, StoredAnswer("{}", "m", 10, 5, cost=0.01))
        self.rows.append(((workspace, project, question.space, question.guard), kept))

    def agreement(self, workspace: int, purpose: str) -> tuple[int, int]:
        return self.counts

    def compared(self, workspace: int, purpose: str, agreed: bool) -> None:
        self.counts = (self.counts[0] + 1, self.counts[1] + agreed)

    def used(self, workspace: int, project: int, purpose: str, answer: StoredAnswer) -> None:
        self.served += 1

    def close(self) -> None:
        pass


def asked(text: str = TEXT, **changes: Any) -> ChatCall:
    call = ChatCall(
        purpose="ask",
        messages=(ChatMessage("system", "Answer."), ChatMessage("user", text)),
        schema={"type": "object"},
        prompt_version="ask-1",
    )
    return replace(call, **changes)


def look(
    store: Store, call: ChatCall, mode: Any = "on", scope: CallScope = SCOPE
) -> semantic.Near | None:
    async def ask() -> semantic.Near | None:
        cache = SemanticCache(store)
        near = await cache.find(call, TARGET, Route((TARGET,), semantic=mode), scope)
        await cache.aclose()
        return near

    return asyncio.run(ask())


def learn(
    store: Store,
    call: ChatCall,
    near: semantic.Near | None = None,
    bought: Mapping[str, Any] = ANSWER,
    stored: Mapping[str, Any] | None = None,
) -> None:
    async def keep() -> None:
        cache = SemanticCache(store)
        await cache.learn(Lesson(call, TARGET, "f" * 64, bought, near, stored), SCOPE)
        await cache.aclose()

    asyncio.run(keep())


@pytest.fixture
def store() -> Store:
    made = Store()
    learn(made, asked())
    return made


def test_a_text_that_differs_in_a_comma_is_near(store: Store) -> None:
    near = look(store, asked(TEXT.replace("base. I", "base, I")))
    assert near is not None
    assert near.cosine >= semantic.NEAR


@pytest.mark.parametrize(
    ("what", "other"),
    [
        ("a number", TEXT.replace("Monday", "Monday at 5")),
        ("a negation", TEXT.replace("I would like", "I would not like")),
        ("a short negation", TEXT.replace("was a present", "wasn't a present")),
        ("a name", TEXT.replace("Monday", "Tuesday")),
        ("its subject", TEXT.replace("lamp", "kettle")),
    ],
)
def test_what_differs_in_meaning_is_never_near(store: Store, what: str, other: str) -> None:
    assert look(store, asked(other)) is None, what


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt_version": "ask-2"},
        {"purpose": "facets"},
        {"schema": {"type": "object", "properties": {}}},
        {"max_tokens": 5},
        {"messages": (ChatMessage("system", "Answer in verse."), ChatMessage("user", TEXT))},
    ],
)
def test_everything_else_must_be_equal(store: Store, changes: dict[str, Any]) -> None:
    assert look(store, asked(**changes)) is None


def test_nothing_crosses_projects_or_workspaces(store: Store) -> None:
    assert look(store, asked(), scope=replace(SCOPE, project=5)) is None
    assert look(store, asked(), scope=replace(SCOPE, workspace=2)) is None
    assert look(store, asked(), scope=replace(SCOPE, project=None)) is None


def test_a_route_that_does_not_look_finds_nothing(store: Store) -> None:
    assert look(store, asked(), mode="off") is None


def test_only_a_proven_route_may_answer(store: Store) -> None:
    call = next(
        one
        for one in (asked(TEXT.replace("please", f"pl{'e' * n}ase")) for n in range(1, 9))
        if not semantic.watched(semantic.question_of(one, TARGET), store.rows[0][1])
    )
    store.counts = (49, 49)
    assert not _usable(look(store, call))
    store.counts = (200, 180)
    assert not _usable(look(store, call))
    store.counts = (200, 198)
    assert _usable(look(store, call))
    assert not _usable(look(store, call, mode="shadow"))


def test_some_near_questions_are_always_bought_to_keep_watching(store: Store) -> None:
    kept = store.rows[0][1]
    share = sum(
        semantic.watched(Question("ask", "s", "g", f"{TEXT}{number}"), kept)
        for number in range(2000)
    )
    assert 60 <= share <= 145  # one in twenty


def test_agreement_is_counted(store: Store) -> None:
    near = look(store, asked(), mode="shadow")
    assert near is not None
    learn(store, asked(), near, ANSWER, dict(ANSWER))
    learn(store, asked(), near, ANSWER, {**ANSWER, "resolved": True})
    assert store.counts == (2, 1)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({"request": "A replacement for the broken lamp", "resolved": False}, True),
        ({"request": "no replacement for a broken lamp", "resolved": False}, False),
        ({"request": "a refund of 20 for a broken lamp", "resolved": False}, False),
        ({"request": "something else entirely is wanted here", "resolved": False}, False),
        ({"request": ANSWER["request"], "resolved": None}, False),
        ({"request": ANSWER["request"]}, False),
    ],
)
def test_what_counts_as_the_same_answer(other: dict[str, Any], expected: bool) -> None:
    assert semantic.same(ANSWER, other) is expected


def test_a_failing_store_is_a_cache_without_an_answer(store: Store) -> None:
    store.broken = True
    assert look(store, asked()) is None


def test_wilson_bound_against_known_values() -> None:
    # Brown, Cai and DasGupta (2001), the score interval: 9 of 10 gives 0.5958 to 0.9821.
    assert semantic.wilson_low(10, 9) == pytest.approx(0.5958, abs=1e-3)
    assert semantic.wilson_low(0, 0) == 0.0


def _usable(near: semantic.Near | None) -> bool:
    assert near is not None
    return near.usable
