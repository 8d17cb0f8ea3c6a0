"""Gathering calls for a provider's batch and collecting it, on a clock of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from providers.gateway.bulk import (
    BulkClient,
    BulkLimits,
    LineResult,
    Opened,
    RemoteBatch,
    Sought,
)
from providers.gateway.collecting import Held, collect
from providers.gateway.errors import ErrorClass, Fault, Parked
from providers.gateway.types import ChatMessage, Deployment, WireAnswer, WireChat
from tests.providers.support import QuickClock

TARGET = Deployment(id="1", provider="Acme", kind="openai", model="m", batched=True)


@dataclass
class Store:
    """Remembers what it was told, in order."""

    said: list[tuple[str, ...]] = field(default_factory=list)
    parked: dict[str, str] = field(default_factory=dict)
    refused: dict[str, Fault] = field(default_factory=dict)

    async def open(self, deployment: Deployment, names: Collection[str]) -> Opened:
        send = frozenset(names) - self.parked.keys() - self.refused.keys()
        self.said.append(("open", *sorted(send)))
        parked = {name: uid for name, uid in self.parked.items() if name in names}
        return Opened(f"uid-{len(self.said)}", send, parked, self.refused)

    async def sent(self, uid: str, number: str) -> None:
        self.said.append(("sent", number))

    async def drop(self, uid: str) -> None:
        self.said.append(("drop",))

    async def leave(self, uid: str) -> None:
        self.said.append(("leave",))

    async def holder(self, name: str) -> str | None:
        return self.parked.get(name)

    async def aclose(self) -> None:
        self.said.append(("closed",))


@dataclass
class Api:
    """A provider that takes batches, or fails as told."""

    fault: Fault | None = None
    batches: list[list[bytes]] = field(default_factory=list)
    states: list[RemoteBatch | Fault] = field(default_factory=list)
    results_of: list[LineResult] = field(default_factory=list)
    found: str | None = None
    cancelled: int = 0

    def encode(self, deployment: Deployment, custom_id: str, wire: WireChat) -> bytes:
        return f"{custom_id}:{wire.messages[0].content}".encode()

    async def submit(self, deployment: Deployment, uid: str, lines: Sequence[bytes]) -> str:
        self.batches.append(list(lines))
        if self.fault is not None:
            raise self.fault
        return f"number-{len(self.batches)}"

    async def find(self, deployment: Deployment, sought: Sought) -> str | None:
        return self.found

    async def status(self, deployment: Deployment, number: str) -> RemoteBatch:
        state = self.states.pop(0)
        if isinstance(state, Fault):
            raise state
        return state

    async def results(
        self, deployment: Deployment, batch: RemoteBatch
    ) -> AsyncIterator[LineResult]:
        for result in self.results_of:
            yield result

    async def cancel(self, deployment: Deployment, number: str) -> None:
        self.cancelled += 1

    async def aclose(self) -> None:
        return None


def wire(name: str, text: str = "hello") -> WireChat:
    return WireChat((ChatMessage("user", text),), 10, keep_as=name)


def client(api: Api, store: Store, **limits: float) -> BulkClient:
    return BulkClient(lambda _: api, store, QuickClock(), BulkLimits(**limits))  # type: ignore[arg-type]


async def ends(bulk: BulkClient, *wires: WireChat) -> list[BaseException]:
    """What each call ended with; none is answered."""
    found = await asyncio.gather(*(bulk.chat(TARGET, one) for one in wires), return_exceptions=True)
    assert all(isinstance(one, BaseException) for one in found)
    return [one for one in found if isinstance(one, BaseException)]


async def test_calls_are_handed_over_together_after_a_moment_of_quiet() -> None:
    api, store = Api(), Store()
    found = await ends(client(api, store), wire("a"), wire("b"), wire("c"))

    assert [len(batch) for batch in api.batches] == [3]
    assert all(isinstance(one, Parked) and one.batch == "uid-1" for one in found)
    assert store.said == [("open", "a", "b", "c"), ("sent", "number-1")]


async def test_a_full_pool_leaves_at_once() -> None:
    api, store = Api(), Store()
    many = [wire(f"{n:03}") for n in range(25)]
    await ends(client(api, store, lines=10, quiet=30.0), *many)

    assert [len(batch) for batch in api.batches] == [10, 10, 5]


async def test_a_pool_never_weighs_more_than_its_limit() -> None:
    api, store = Api(), Store()
    await ends(client(api, store, bytes=100), *(wire(str(n), "x" * 40) for n in range(6)))

    assert [len(batch) for batch in api.batches] == [2, 2, 2]


async def test_the_same_call_has_one_line() -> None:
    api, store = Api(), Store()
    found = await ends(client(api, store), wire("a"), wire("a"))

    assert api.batches == [[b"a:hello"]]
    assert all(isinstance(one, Parked) for one in found)


async def test_what_a_batch_holds_already_is_not_sent_again() -> None:
    api, store = Api(), Store(parked={"a": "other"})
    bulk = client(api, store)
    first, second = await ends(bulk, wire("a"), wire("b"))

    assert isinstance(first, Parked)
    assert first.batch == "other"
    assert isinstance(second, Parked)
    assert api.batches == [[b"b:hello"]]
    with pytest.raises(Parked):
        await bulk.find(TARGET, "a")
    assert await bulk.find(TARGET, "b") is None


async def test_what_was_given_up_is_told_and_not_sent() -> None:
    refused = Fault(ErrorClass.BAD_ANSWER, "no answer in 2 batches", sent=False)
    api = Api()
    (found,) = await ends(client(api, Store(refused={"a": refused})), wire("a"))

    assert isinstance(found, Fault)
    assert (found.error_class, found.sent) == (ErrorClass.BAD_ANSWER, False)
    assert not api.batches


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        (Fault(ErrorClass.AUTH, status=401), "drop"),
        (Fault(ErrorClass.RATE_LIMIT, status=429, retry_after=3.0), "drop"),
        (Fault(ErrorClass.NETWORK, "refused", sent=False), "drop"),
        (Fault(ErrorClass.TIMEOUT, "no answer"), "leave"),
        (Fault(ErrorClass.SERVER, status=502), "leave"),
        (Fault(ErrorClass.SERVER, "not JSON", status=200), "leave"),
    ],
)
async def test_only_what_was_surely_not_taken_is_given_back(fault: Fault, word: str) -> None:
    store = Store()
    (found,) = await ends(client(Api(fault=fault), store), wire("a"))

    assert store.said[-1] == (word,)
    if word == "leave":
        assert isinstance(found, Parked)
    else:
        assert isinstance(found, Fault)
        assert (found.error_class, found.sent) == (fault.error_class, False)
        assert found.retry_after == fault.retry_after


async def test_a_store_that_fails_sends_nothing() -> None:
    class Broken(Store):
        async def open(self, deployment: Deployment, names: Collection[str]) -> Opened:
            raise OSError("away")

    api = Api()
    (found,) = await ends(client(api, Broken()), wire("a"))
    assert isinstance(found, OSError)
    assert not api.batches


async def test_closing_hands_over_what_waits() -> None:
    api, store = Api(), Store()
    bulk = client(api, store, quiet=1e6, longest=1e6)
    call = asyncio.create_task(ends(bulk, wire("a")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await bulk.aclose()

    assert isinstance((await call)[0], Parked)
    assert store.said[-1] == ("closed",)


# --- collecting ------------------------------------------------------------------------------


@dataclass
class Book:
    said: list[tuple[object, ...]] = field(default_factory=list)

    async def sent(self, uid: str, number: str) -> None:
        self.said.append(("sent", number))

    async def lost(self, uid: str) -> None:
        self.said.append(("lost",))

    async def looked(self, uid: str, state: str, done: int) -> None:
        self.said.append(("looked", state))

    async def keep(self, uid: str, results: Sequence[LineResult]) -> None:
        self.said.append(("keep", *(result.custom_id for result in results)))

    async def end(self, uid: str, state: str, *, expired: bool) -> None:
        self.said.append(("end", state, expired))


SOUGHT = Sought("uid", datetime.now(UTC), 3)
WORKS = RemoteBatch("n", "in_progress", ended=False)
OVER = RemoteBatch("n", "completed", ended=True)
NAMED = Held(SOUGHT, number="n")


async def looked(held: Held, api: Api) -> list[tuple[object, ...]]:
    book = Book()
    await collect(TARGET, held, api, book)
    return book.said


async def test_a_batch_that_works_is_looked_at_later() -> None:
    assert await looked(NAMED, Api(states=[WORKS])) == [("looked", "in_progress")]


async def test_an_unwanted_batch_is_cancelled_and_still_collected_later() -> None:
    api = Api(states=[WORKS])
    said = await looked(Held(SOUGHT, number="n", unwanted=True), api)
    assert (api.cancelled, said) == (1, [("looked", "in_progress")])


async def test_all_lines_are_kept_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("providers.gateway.collecting.CHUNK", 2)
    lines = [LineResult(name, answer=WireAnswer("{}")) for name in "cab"]
    said = await looked(NAMED, Api(states=[OVER], results_of=lines))
    assert said == [("keep", "c", "a"), ("keep", "b"), ("end", "completed", False)]


async def test_a_number_that_was_lost_is_looked_up() -> None:
    said = await looked(Held(SOUGHT), Api(found="n", states=[WORKS]))
    assert said == [("sent", "n"), ("looked", "in_progress")]


async def test_what_is_not_listed_yet_may_be_later() -> None:
    assert await looked(Held(SOUGHT), Api()) == []
    assert await looked(Held(SOUGHT, listed=True), Api()) == [("lost",)]


async def test_a_forgotten_batch_is_given_up_only_long_after_its_time() -> None:
    gone = Fault(ErrorClass.NOT_FOUND, status=404)
    with pytest.raises(Fault):
        await looked(NAMED, Api(states=[gone]))
    said = await looked(Held(SOUGHT, number="n", overdue=True), Api(states=[gone]))
    assert said[-1] == ("end", "forgotten", True)
