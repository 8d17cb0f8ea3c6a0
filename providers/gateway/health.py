"""What processes tell each other about the models they call.

Each process sees failures and delays of its own calls. It tells a store, about once a second and
never on the path of a call, and learns there what the others found: whether a model rests, and
how many processes share its limits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

State = Literal["closed", "open", "half_open", "rested"]
"""``closed``: called. ``open``: rests until ``wait`` is over. ``half_open``: one call tries it.
``rested``: taken out by hand, until it is returned by hand."""

BY_HAND = "by hand"
"""The reason of a rest that a person ordered."""

LATENCY_BOUNDS = (
    0.1,
    0.2,
    0.35,
    0.5,
    0.75,
    1.0,
    1.5,
    2.0,
    3.0,
    5.0,
    8.0,
    12.0,
    20.0,
    30.0,
    60.0,
    120.0,
)
"""Upper bounds in seconds of the buckets that answers are counted in; one more has no bound."""

STALE_SECONDS = 1.0
"""How old the shared state may be when a call is routed (RELIABILITY: read at most 1 s old)."""


@dataclass(frozen=True, slots=True)
class Health:
    """What all processes together know of one deployment.

    ``wait`` is the time in seconds until it may be tried again, ``reason`` an error class or
    :data:`BY_HAND`, ``opens`` how often in a row it opened. ``version`` numbers the changes.
    ``members`` is how many live processes call it, this one included, ``wanted`` how many calls
    they would like to have out in all. ``requests_left`` and ``tokens_left`` are what the
    provider's headers said last in any of them, ``None`` when they said nothing.
    """

    state: State = "closed"
    version: int = 0
    reason: str = ""
    detail: str = ""
    opens: int = 0
    wait: float = 0.0
    members: int = 1
    wanted: int = 0
    requests_left: int | None = None
    tokens_left: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What this process saw of one deployment since it last told.

    ``answered``, ``slow`` (of those answered), ``failed`` and ``recovered`` count calls,
    ``errors`` failed attempts by class, ``latencies`` answers by :data:`LATENCY_BOUNDS`,
    ``tokens`` those in and out. ``in_flight``, ``wanted`` and ``limit`` are calls now.
    """

    deployment: str
    answered: int = 0
    slow: int = 0
    failed: int = 0
    recovered: int = 0
    tokens: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    latencies: Sequence[int] = ()
    in_flight: int = 0
    wanted: int = 0
    limit: int = 0
    requests_left: int | None = None
    tokens_left: int | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a breaker that this process decided on, having seen ``version``.

    It takes effect only if nobody changed it meanwhile. ``wait`` is the rest in seconds from now.
    ``session``, ``went_to`` and ``switch_ms`` say where the call went that met the fault.
    """

    deployment: str
    version: int
    state: State
    reason: str = ""
    detail: str = ""
    opens: int = 0
    wait: float = 0.0
    session: int | None = None
    went_to: str = ""
    switch_ms: int | None = None


class HealthStore(Protocol):
    """Where processes meet. Called from one thread of its own, never from the event loop."""

    def exchange(
        self, owner: str, seen: Sequence[Seen], changes: Sequence[Change]
    ) -> Mapping[str, Health]:
        """Take in what was seen and decided, in one transaction; the shared state of every
        deployment named in ``seen`` or ``changes``."""
        ...

    def take_probe(self, owner: str, deployment: str, seconds: float) -> Health | None:
        """The right to try an open deployment whose rest is over, for so many seconds.

        Gives the new state (``half_open``), or ``None`` when somebody else has the right or the
        rest is not over.
        """
        ...

    def close(self) -> None:
        """Forget this process's memberships and give back what the thread holds."""
        ...


class MemoryHealth:
    """A health store for one process: tests, benchmarks and throw-away work.

    Time stands still in it: a rest is over when its owner says so by :meth:`pass_time`.
    """

    def __init__(self) -> None:
        self.states: dict[str, Health] = {}
        self.seen: list[Seen] = []
        self.changes: list[Change] = []

    def exchange(
        self, owner: str, seen: Sequence[Seen], changes: Sequence[Change]
    ) -> Mapping[str, Health]:
        self.seen.extend(seen)
        for change in changes:
            self._apply(change)
        named = {one.deployment for one in seen} | {one.deployment for one in changes}
        return {name: self.states.get(name, Health()) for name in named}

    def _apply(self, change: Change) -> None:
        now = self.states.get(change.deployment, Health())
        if now.version != change.version:
            return
        self.changes.append(change)
        self.states[change.deployment] = Health(
            state=change.state,
            version=now.version + 1,
            reason=change.reason,
            detail=change.detail,
            opens=change.opens,
            wait=change.wait,
        )

    def pass_time(self, seconds: float) -> None:
        """Shorten every rest."""
        for name, now in self.states.items():
            self.states[name] = Health(
                state=now.state,
                version=now.version,
                reason=now.reason,
                detail=now.detail,
                opens=now.opens,
                wait=max(0.0, now.wait - seconds),
            )

    def take_probe(self, owner: str, deployment: str, seconds: float) -> Health | None:
        now = self.states.get(deployment)
        if now is None or now.state != "open" or now.wait > 0:
            return None
        self.states[deployment] = Health(
            state="half_open", version=now.version + 1, reason=now.reason, opens=now.opens
        )
        return self.states[deployment]

    def close(self) -> None:
        """Nothing is held."""
