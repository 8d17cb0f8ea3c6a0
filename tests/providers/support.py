"""Deployments, calls and a clock for the tests of the gateway."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from django.db import connection

from providers.clients.scripted import Act, Scenario, ScriptedClient, Step
from providers.gateway.clock import Clock
from providers.gateway.gateway import Gateway
from providers.gateway.journal import GroupCommitJournal, MemoryStore
from providers.gateway.types import (
    CallScope,
    ChatCall,
    ChatMessage,
    Client,
    Deployment,
    Route,
    Timeouts,
)

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "request": {"type": "string", "minLength": 1, "maxLength": 300},
        "sentiment": {"type": "string", "enum": ["positive", "neutral", "negative"]},
        "concern": {"type": "integer", "minimum": 1, "maximum": 5},
    },
    "required": ["request", "sentiment", "concern"],
    "additionalProperties": False,
}
SCOPE = CallScope(workspace=1, session=9, owner="worker-1")


class FastClock:
    """A clock that a sleep moves forward at once."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)


class QuickClock:
    """The real clock, a hundred times as fast."""

    def monotonic(self) -> float:
        return time.monotonic() * 100

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 100)


def deployment(**changes: Any) -> Deployment:
    values: dict[str, Any] = {
        "id": "d1",
        "provider": "Test",
        "kind": "scripted",
        "model": "test-model",
        "embedding_model": "test-embed",
        "allow_private": True,
        "concurrency": 20,
        "price_in": 1.0,
        "price_out": 2.0,
        "timeouts": Timeouts(connect=1.0, first_byte=0.2, total=2.0),
    }
    return Deployment(**{**values, **changes})


def chat_call(text: str = "user: I cannot sign in", **changes: Any) -> ChatCall:
    values: dict[str, Any] = {
        "purpose": "facets",
        "messages": (
            ChatMessage("system", "Read the conversation."),
            ChatMessage("user", f"<conversation>\n{text}\n</conversation>"),
        ),
        "schema": SCHEMA,
        "prompt_version": "facets-1",
    }
    return ChatCall(**{**values, **changes})


def scenario(*acts: Act | Step, **changes: Any) -> Scenario:
    """A scenario that opens with the acts and then succeeds."""
    opening = tuple(one if isinstance(one, Step) else Step(act=one) for one in acts)
    return Scenario(opening=opening, **changes)


class Bench:
    """A gateway over scripted clients, with what it wrote and how long it would have slept."""

    def __init__(
        self,
        *scenarios: Scenario,
        clients: Mapping[str, Client] | None = None,
        store: MemoryStore | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.store = store or MemoryStore()
        self.clock = FastClock()
        self.scripted = [ScriptedClient(one) for one in scenarios or (Scenario(),)]
        kinds: dict[str, Client] = {f"s{i}": client for i, client in enumerate(self.scripted)}
        kinds.update(clients or {})
        self.gateway = Gateway(
            kinds,
            GroupCommitJournal(self.store, linger=0.001, retry_for=0.5),
            clock=clock or self.clock,
            rng=random.Random(1),
        )
        self.route = Route(
            tuple(
                deployment(id=f"d{i}", kind=f"s{i}", provider=f"P{i}", model=f"m{i}")
                for i in range(len(self.scripted))
            )
        )

    @property
    def requests(self) -> list[int]:
        return [client.script.requests for client in self.scripted]

    def states(self) -> list[tuple[str, str]]:
        return [(row.state, row.error_class) for row in self.store.history]

    async def asked(self, requests: int) -> None:
        """Wait until that many requests are with the provider."""
        async with asyncio.timeout(10):
            while sum(self.requests) < requests:
                await asyncio.sleep(0.001)

    async def settled(self) -> None:
        """Wait until every row posted is written."""
        await self.gateway._journal.lookup(["nothing"])
        await self.gateway._journal._writes.drain()  # type: ignore[attr-defined]


def race(work: Callable[[int], None], threads: int) -> None:
    """Run ``work(number)`` in so many threads at once; fails with what any of them raised."""
    start, errors = threading.Barrier(threads), list[BaseException]()

    def one(number: int) -> None:
        try:
            start.wait(10)
            work(number)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            errors.append(error)
        finally:
            connection.close()

    made = [threading.Thread(target=one, args=(number,)) for number in range(threads)]
    for thread in made:
        thread.start()
    for thread in made:
        thread.join(60)
    assert errors == []
