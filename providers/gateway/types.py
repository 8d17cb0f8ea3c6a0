"""What goes into and comes out of the gateway.

These types name no database and no SDK. Callers build a :class:`ChatCall`, a :class:`Route` and
a :class:`CallScope`; clients implement :class:`Client`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from typing_extensions import override

Matrix = npt.NDArray[np.float32]
"""Unit vectors, one row each, shape ``(n, d)``."""


class Secret:
    """A string that shows itself only to who asks by :meth:`reveal`.

    ``repr``, ``str``, formatting and pickling never carry the value, so that it can neither
    reach a log line nor an exception's text.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str = "") -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself."""
        return self._value

    @override
    def __repr__(self) -> str:
        return "Secret('…')" if self._value else "Secret('')"

    @override
    def __str__(self) -> str:
        return repr(self)

    def __bool__(self) -> bool:
        return bool(self._value)

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    @override
    def __hash__(self) -> int:
        return hash(self._value)

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a secret is not serialised")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits of one attempt in seconds: connecting, silence on the wire, the whole attempt."""

    connect: float = 5.0
    first_byte: float = 60.0
    total: float = 120.0


@dataclass(frozen=True, slots=True)
class Deployment:
    """One model at one address, as the operator configured it.

    ``kind`` selects the client. Prices are US dollars per million tokens, ``None`` when unknown.
    ``supports_schema`` is ``None`` until learned. ``allow_private`` permits private addresses.
    ``journaled`` is off for engines inside the process, whose answers cost nothing to repeat.
    ``reconciles``: the provider is asked to keep answers, so that one that was lost can be found.
    ``spare_key`` is tried when the first is refused. ``auth`` says how a key is sent: ``bearer``,
    ``api-key`` (Azure) or ``x-api-key`` (Anthropic). ``requests_per_minute`` and
    ``tokens_per_minute`` hold for all processes together. ``context_tokens`` and ``supports_*``
    are ``None`` until known. ``batched``: requests go through the provider's batch API, at
    ``price_factor`` of the price; ``batch_api`` names whose shape it has. ``certificates`` (PEM)
    are trusted besides the system's.
    """

    id: str
    provider: str
    kind: str
    model: str
    base_url: str = ""
    embedding_model: str = ""
    api_key: Secret = field(default_factory=Secret, repr=False)
    timeouts: Timeouts = Timeouts()
    concurrency: int = 8
    price_in: float | None = None
    price_out: float | None = None
    supports_schema: bool | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    ca_bundle: str = ""
    certificates: str = field(default="", repr=False)
    proxy: str = field(default="", repr=False)
    spare_key: Secret = field(default_factory=Secret, repr=False)
    auth: str = "bearer"
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    context_tokens: int | None = None
    supports_tools: bool | None = None
    supports_streaming: bool | None = None
    price_cached: float | None = None
    price_factor: float = 1.0
    batched: bool = False
    batch_api: str = ""
    allow_private: bool = False
    journaled: bool = True
    reconciles: bool = False


Strategy = Literal[
    "priority", "weighted", "round_robin", "least_busy", "lowest_latency", "cheapest"
]
"""How a target is chosen among those that are healthy and able (``gateway/strategy.py``)."""

Semantic = Literal["off", "shadow", "on"]


@dataclass(frozen=True, slots=True)
class Route:
    """The targets of a call, and how one of them is chosen.

    ``weights`` go with ``targets`` and count under ``weighted`` alone. ``semantic`` says whether
    answers to nearly the same question are watched (``shadow``) or used (``on``). ``max_age`` is
    how old a stored answer may be in seconds, ``None`` for any age. ``interactive``: a person
    waits, so a second target may be asked before the first has failed.
    """

    targets: tuple[Deployment, ...]
    strategy: Strategy = "priority"
    weights: tuple[int, ...] = ()
    semantic: Semantic = "off"
    max_age: float | None = None
    interactive: bool = False


def never() -> bool:
    """Default of ``CallScope.should_stop``."""
    return False


@dataclass(frozen=True, slots=True)
class CallScope:
    """On whose behalf a call is made.

    ``workspace`` goes into the fingerprint, so that no answer crosses workspaces. ``owner``
    names the process that holds the call. ``should_stop`` is asked before each attempt and
    while waiting. ``project``, ``user`` and ``key`` (an API key) say whose limits hold besides
    the session's.
    """

    workspace: int
    session: int | None = None
    project: int | None = None
    user: int | None = None
    key: int | None = None
    owner: str = ""
    should_stop: Callable[[], bool] = never


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message: ``role`` is ``system``, ``user`` or ``assistant``."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class ChatCall:
    """One structured question. ``payload`` is for engines that read data instead of prompts."""

    purpose: str
    messages: tuple[ChatMessage, ...]
    schema: Mapping[str, Any]
    prompt_version: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: int = 800
    temperature: float = 0.0


@dataclass(frozen=True, slots=True)
class ChatResult:
    """A validated answer.

    Tokens and ``cost`` (US dollars, ``None`` when the price is unknown) add up every answer this
    call paid for now, repairs included; a replayed answer costs 0 and names what it ``saved``.
    ``hedged``: a second target was asked before the first had answered, and the cost holds the
    most that the slower one may have cost as well.
    """

    data: Mapping[str, Any]
    model: str
    provider: str
    deployment: str
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    cost: float | None = None
    saved: float | None = None
    replayed: bool = False
    repaired: bool = False
    attempts: int = 1
    latency_ms: int = 0
    tokens_reasoning: int = 0
    hedged: bool = False


@dataclass(frozen=True, slots=True)
class EmbedResult:
    """Vectors in the order of the texts, and what they cost."""

    vectors: Matrix
    model: str
    tokens_in: int = 0
    cost: float | None = None
    calls: int = 0


@dataclass(frozen=True, slots=True)
class WireChat:
    """One request as a client sends it. ``schema`` is ``None`` where only text is asked for.

    ``temperature`` ``None`` leaves the parameter out; ``token_field`` names the length limit.
    ``keep_as``, if given, has the provider keep the answer under that name. ``timeout`` bounds
    the whole exchange, ``first_byte`` the wait for the first byte of the answer, both in seconds;
    ``None`` leaves the deployment's own limits.
    """

    messages: tuple[ChatMessage, ...]
    max_tokens: int
    temperature: float | None = 0.0
    token_field: str = "max_tokens"  # noqa: S105 - a parameter's name
    schema: Mapping[str, Any] | None = None
    purpose: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict)
    timeout: float | None = None
    keep_as: str = ""
    first_byte: float | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """What a provider's rate-limit headers say: how much there is a minute, what is left of it,
    and in how many seconds it is whole again. ``None`` where a header was missing."""

    requests_limit: int | None = None
    requests_left: int | None = None
    requests_reset: float | None = None
    tokens_limit: int | None = None
    tokens_left: int | None = None
    tokens_reset: float | None = None


@dataclass(frozen=True, slots=True)
class WireAnswer:
    """What a model sent back, unchecked. Token counts are 0 where the server told none.

    ``tokens_cached`` are part of ``tokens_in``, ``tokens_reasoning`` of ``tokens_out``.
    ``quota`` is what the answer's headers said is left, if they did.
    """

    text: str
    finish_reason: str = "stop"
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    model: str = ""
    tokens_reasoning: int = 0
    quota: Quota | None = None


@dataclass(frozen=True, slots=True)
class WireVectors:
    """Vectors as received, in the order of the texts; unchecked and not yet of unit length."""

    vectors: Matrix
    tokens_in: int = 0
    quota: Quota | None = None
    tokens_out: int = 0


@dataclass(frozen=True, slots=True)
class StreamPiece:
    """The next piece of an answer that arrives bit by bit.

    ``end`` is set on the last piece alone: how the answer finished and the tokens it took, as the
    server told them (0 where it told none); the text in it is empty.
    """

    text: str = ""
    end: WireAnswer | None = None


class Client(Protocol):
    """Carries requests of one kind of deployment. Raises ``Fault`` and nothing else."""

    async def chat(self, deployment: Deployment, wire: WireChat) -> WireAnswer: ...

    def stream(self, deployment: Deployment, wire: WireChat) -> AsyncIterator[StreamPiece]:
        """The answer as it is written. A stream that ends without an ``end`` was cut off."""
        ...

    async def embed(
        self, deployment: Deployment, texts: Sequence[str], *, base64: bool, timeout: float
    ) -> WireVectors: ...

    async def find(self, deployment: Deployment, name: str) -> WireAnswer | None:
        """The answer that the provider kept under a name, ``None`` when it has none."""
        ...

    async def aclose(self) -> None: ...
