"""Clients whose outcomes a test decides, on a clock that the test moves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from providers.gateway.errors import ErrorClass, Fault
from providers.gateway.gateway import Gateway
from providers.gateway.health import HealthStore
from providers.gateway.journal import GroupCommitJournal, MemoryStore
from providers.gateway.retry import RetryPolicy
from providers.gateway.types import Deployment, Route, StreamPiece, Timeouts, WireAnswer, WireChat
from tests.providers.support import FastClock, deployment

GOOD = '{"request": "help", "sentiment": "neutral", "concern": 1}'
ANSWER = WireAnswer(GOOD, tokens_in=10, tokens_out=5)

FAULTS: dict[str, Fault] = {
    "refused": Fault(ErrorClass.NETWORK, "refused", sent=False),
    "cut off": Fault(ErrorClass.NETWORK, "cut off"),
    "hang": Fault(ErrorClass.TIMEOUT, "late"),
    "500": Fault(ErrorClass.SERVER, "HTTP 500", status=500),
    "503": Fault(ErrorClass.SERVER, "HTTP 503", status=503, retry_after=3.0),
    "429, 1 s": Fault(ErrorClass.RATE_LIMIT, "HTTP 429", status=429, retry_after=1.0),
    "429, 20 s": Fault(ErrorClass.RATE_LIMIT, "HTTP 429", status=429, retry_after=20.0),
    "bare 429": Fault(ErrorClass.QUOTA, "HTTP 429", status=429, sent=False, unsure=True),
    "quota": Fault(ErrorClass.QUOTA, "HTTP 402", status=402),
    "key": Fault(ErrorClass.AUTH, "HTTP 401", status=401),
    "permission": Fault(ErrorClass.PERMISSION, "HTTP 403", status=403),
    "no such model": Fault(ErrorClass.NOT_FOUND, "HTTP 404", status=404),
    "too long": Fault(ErrorClass.CONTEXT_LENGTH, "HTTP 400", status=400),
}


class StillClock(FastClock):
    """A clock that hardly moves while somebody sleeps; who sleeps looks again soon."""

    async def sleep(self, seconds: float) -> None:
        self.now += min(seconds, 0.02)
        self.slept.append(seconds)
        await asyncio.sleep(0.001)


Outcome = WireAnswer | Fault | None
"""``None``: no word until it is let go or cancelled."""


class Played:
    """Answers with what ``play`` gives for each request; ``None`` waits for :attr:`gate`."""

    def __init__(self, play: Callable[[Deployment], Outcome] = lambda _: ANSWER) -> None:
        self.play = play
        self.asked: list[Deployment] = []
        self.pieces: list[StreamPiece | Fault] = []
        self.gate = asyncio.Event()
        self.cancelled = 0

    async def chat(self, target: Deployment, _wire: WireChat) -> WireAnswer:
        self.asked.append(target)
        outcome = self.play(target)
        if outcome is None:
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            outcome = ANSWER
        await asyncio.sleep(0)
        if isinstance(outcome, Fault):
            raise outcome
        return outcome

    async def stream(self, target: Deployment, _wire: WireChat) -> AsyncIterator[StreamPiece]:
        self.asked.append(target)
        outcome = self.play(target)
        if isinstance(outcome, Fault):
            raise outcome
        for piece in self.pieces:
            if isinstance(piece, Fault):
                raise piece
            yield piece
        if outcome is None:
            await self.gate.wait()

    async def embed(self, *_args: Any, **_options: Any) -> Any:
        raise Fault(ErrorClass.BAD_REQUEST, sent=False)

    async def find(self, *_args: Any) -> WireAnswer | None:
        return None

    async def aclose(self) -> None:
        return


class Door:
    """A gateway whose targets ``a``, ``b``, ``c`` are played."""

    def __init__(
        self,
        *plays: Callable[[Deployment], Outcome],
        health: HealthStore | None = None,
        policy: RetryPolicy | None = None,
        clock: FastClock | None = None,
        targets: Mapping[str, Any] | None = None,
    ) -> None:
        self.clock = clock or FastClock()
        self.store = MemoryStore()
        self.clients = {name: Played(play) for name, play in zip("abc", plays, strict=False)}
        self.gateway = Gateway(
            self.clients,
            GroupCommitJournal(self.store, linger=0.001, retry_for=0.5),
            clock=self.clock,
            rng=random.Random(1),
            health=health,
            policy=policy,
        )
        made = [
            deployment(
                id=name,
                kind=name,
                provider=name.upper(),
                model=f"m-{name}",
                timeouts=Timeouts(connect=1.0, first_byte=20.0, total=20.0),
            )
            for name in self.clients
        ]
        self.route = Route(tuple(replace(one, **(targets or {})) for one in made))

    @property
    def asked(self) -> str:
        """How often each target was asked."""
        return " ".join(str(len(client.asked)) for client in self.clients.values())

    def failed_rows(self) -> list[tuple[str, str]]:
        """Target and class of every failed attempt in the journal."""
        rows = [row for row in self.store.history if row.state == "failed"]
        return [(row.deployment, row.error_class) for row in rows]


@asynccontextmanager
async def opened(*plays: Callable[[Deployment], Outcome], **options: Any) -> AsyncIterator[Door]:
    """A door that is closed in the end, so that all of its rows are written."""
    door = Door(*plays, **options)
    try:
        yield door
    finally:
        for client in door.clients.values():
            client.gate.set()
        await door.gateway.aclose()


def well(_target: Deployment) -> Outcome:
    """Answers."""
    return ANSWER


def always(fault: Fault | None) -> Callable[[Deployment], Outcome]:
    """Fails, or hangs, each time."""
    return lambda _target: fault


def first(*outcomes: Outcome) -> Callable[[Deployment], Outcome]:
    """These outcomes one after the other, then answers."""
    left = list(outcomes)
    return lambda _target: left.pop(0) if left else ANSWER
