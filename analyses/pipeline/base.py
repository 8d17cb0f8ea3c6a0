"""What every stage of the pipeline is made of: parameters, context and ports.

The pipeline is plain Python. It knows no database, settings, clock, environment or network;
whatever it may touch reaches it through :class:`Context`. That makes every stage runnable in a
test, a notebook or a worker alike, and replayable: same inputs, same parameters, same seed, same
records.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

T = TypeVar("T")

Matrix = npt.NDArray[np.float32]
"""Vectors, one row each, shape ``(n, d)``."""

Labels = npt.NDArray[np.int32]
"""One cluster index per row, shape ``(n,)``; ``-1`` is the explicit rest bin."""

Purpose = Literal["facets", "names", "hierarchy", "privacy"]

REST = -1
"""Label of rows that belong to no cluster."""


class StageParams(BaseModel):
    """Base of every stage's parameters: frozen, validated at construction, JSON round-trip."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a model request. ``role`` is ``system``, ``user`` or ``assistant``."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One structured question to a model.

    ``payload`` holds the very data the prompt was rendered from. Remote providers read
    ``messages``; the local engine, which is no language model, reads ``payload``.
    ``schema`` is the JSON Schema the answer has to satisfy (an object at the top).
    """

    purpose: Purpose
    messages: tuple[Message, ...]
    schema: Mapping[str, Any]
    payload: Mapping[str, Any]
    prompt_version: str
    max_tokens: int = 800
    temperature: float = 0.0


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """A validated answer. ``data`` satisfies the request's schema; money is in US dollars."""

    data: Mapping[str, Any]
    model: str
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None
    replayed: bool = False
    repaired: bool = False


class CallFailed(Exception):
    """A model call ended without a usable answer.

    ``error_class`` is one of the gateway's classes (``timeout``, ``rate_limit``, ``bad_answer``,
    ``auth`` ...); ``fatal`` says that the next call would fail the same way (bad key, no quota),
    so the stage should stop and let the run say so instead of failing item after item.
    ``retry_after`` is in how many seconds a call may succeed again, ``None`` if nobody knows.
    """

    def __init__(
        self,
        error_class: str,
        message: str,
        *,
        fatal: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.error_class = error_class
        self.message = message
        self.fatal = fatal


class Stopped(Exception):
    """Raised by a stage that noticed ``should_stop()``; whatever it yielded before is kept."""


class Deferred(Stopped):
    """What was asked waits at a provider, in its ``batch``; ask again once that was collected."""

    def __init__(self, batch: str) -> None:
        super().__init__(batch)
        self.batch = batch


class ChatPort(Protocol):
    """Asks a model and returns a validated answer, or raises :class:`CallFailed`."""

    async def __call__(self, request: ChatRequest) -> ChatAnswer: ...


class EmbedPort(Protocol):
    """Turns texts into vectors, shape ``(len(texts), d)``, rows in the order of the texts."""

    async def __call__(self, texts: Sequence[str]) -> Matrix: ...


async def compute_inline(function: Callable[..., T], *args: Any) -> T:
    """Default of ``Context.compute``: run the function here and now."""
    return function(*args)


def never_stop() -> bool:
    """Default of ``Context.should_stop``."""
    return False


def report_nothing(done: int, total: int) -> None:
    """Default of ``Context.report``."""


@dataclass(frozen=True, slots=True)
class Context:
    """All a stage may touch.

    ``compute`` runs CPU-bound work (worker: in a thread, so that calls in flight go on);
    ``concurrency`` is how many model calls the stage may keep in flight.
    ``rng()`` returns a fresh generator from the run's seed, the same one at each call.
    """

    chat: ChatPort
    embed: EmbedPort
    seed: int = 7
    concurrency: int = 8
    report: Callable[[int, int], None] = report_nothing
    should_stop: Callable[[], bool] = never_stop
    compute: Callable[..., Awaitable[Any]] = compute_inline
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("openclio.pipeline"))

    def rng(self) -> np.random.Generator:
        """A generator seeded with the run's seed."""
        return np.random.default_rng(self.seed)

    def check(self) -> None:
        """Raise :class:`Stopped` if the run was asked to stop."""
        if self.should_stop():
            raise Stopped


class Stage(Protocol):
    """One step of an analysis.

    ``key`` names the step in the database and on pages, ``version`` changes when its results
    would, ``needs`` lists the stages whose records it reads. Parameters go into the constructor,
    data into :meth:`run`, which yields typed records (see ``records.py``).
    """

    key: ClassVar[str]
    version: ClassVar[int]
    needs: ClassVar[tuple[str, ...]]
    Params: ClassVar[type[StageParams]]

    def run(self, inputs: Any, context: Context) -> AsyncIterator[Any]:
        """Yield records for ``inputs``; raise :class:`Stopped` soon after a stop was asked for."""
        ...
