"""Which target of a route is asked, in which order the others follow, and why some do not.

Everything here is a pure function of what it is given, so that a page can show what would happen.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from providers.gateway.errors import TRAITS, CallError, ErrorClass
from providers.gateway.health import BY_HAND, Health
from providers.gateway.types import Deployment, Route

CHOSEN = "chosen"
"""What :func:`explain` says of the target that is asked first."""

BYTES_A_TOKEN = 4
"""Bytes of text to a token, rather too many than too few (OpenAI's rule of thumb): a target is
left out only when the text cannot fit."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a call asks of a target: room for ``tokens`` in and out, tools, embeddings.

    ``price`` estimates the call's cost at a target in US dollars, ``None`` when unknown.
    """

    tokens: int = 0
    tools: bool = False
    embeddings: bool = False
    price: Callable[[Deployment], float | None] = lambda target: target.price_in


@dataclass(frozen=True, slots=True)
class Load:
    """How busy and fast a target is: calls out, how many may be, and the moving average of its
    answers in seconds (``None`` before the first)."""

    in_flight: int = 0
    limit: int = 1
    latency: float | None = None


IDLE = Load()
WELL = Health()


@dataclass(frozen=True, slots=True)
class Skipped:
    """A target that is left out: why, in words for a page, and for how many seconds at least.

    ``error_class`` is that of a call which finds no other target.
    """

    target: Deployment
    reason: str
    error_class: ErrorClass
    wait: float | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """The targets in the order in which they are asked, and those left out."""

    order: tuple[Deployment, ...]
    skipped: tuple[Skipped, ...] = ()


@dataclass(slots=True)
class Turns:
    """Whose turn it is on the routes of a process; ``weighted`` and ``round_robin`` need it."""

    credit: dict[tuple[str, ...], list[float]] = field(default_factory=dict)


def choose(
    route: Route,
    states: Mapping[str, Health],
    needs: Needs = Needs(),
    *,
    loads: Mapping[str, Load] | None = None,
    turns: Turns | None = None,
    rng: random.Random | None = None,
) -> Choice:
    """Order the targets that are healthy and able by the route's strategy.

    ``states`` and ``loads`` go by a deployment's id; one that is missing is well and idle.
    Without ``turns`` every call counts as the first, without ``rng`` nothing is left to chance.
    """
    able: list[Deployment] = []
    skipped: list[Skipped] = []
    for target in route.targets:
        why = _unfit(target, needs) or _resting(target, states.get(target.id, WELL))
        if why is None:
            able.append(target)
        else:
            skipped.append(why)
    order = able
    if len(able) > 1 and route.strategy != "priority":
        order = _ORDERS[route.strategy](
            _Asked(route, needs, loads or {}, turns or Turns(), rng), able
        )
    return Choice(tuple(order), tuple(skipped))


def explain(
    route: Route,
    states: Mapping[str, Health],
    needs: Needs = Needs(),
    *,
    loads: Mapping[str, Load] | None = None,
) -> list[tuple[Deployment, str]]:
    """Every target with what becomes of it: :data:`CHOSEN`, its place in line, or why it is left
    out. In the order of asking, those left out last."""
    choice = choose(route, states, needs, loads=loads)
    told = [
        (target, CHOSEN if place == 0 else f"asked as number {place + 1}, if those before fail")
        for place, target in enumerate(choice.order)
    ]
    return told + [(one.target, one.reason) for one in choice.skipped]


def nobody_error(skipped: Sequence[Skipped]) -> CallError:
    """Why no target of a route is asked: the one that is back first speaks for all."""
    if not skipped:
        return CallError(ErrorClass.NOT_FOUND, "This route has no provider.", fatal=True)
    unfit = [one for one in skipped if TRAITS[one.error_class].scope == "call"]
    resting = [one for one in skipped if one not in unfit]
    first = min(resting or unfit, key=lambda one: float("inf") if one.wait is None else one.wait)
    return CallError(
        first.error_class,
        f"{first.target.provider}: {first.reason}",
        fatal=bool(resting),
        retry_after=first.wait,
    )


def _unfit(target: Deployment, needs: Needs) -> Skipped | None:
    room = target.context_tokens
    if room is not None and needs.tokens > room:
        text = f"The text is longer than the {room:,} tokens it takes."
        return Skipped(target, text, ErrorClass.CONTEXT_LENGTH)
    if needs.embeddings and not (target.embedding_model or target.model):
        return Skipped(target, "It has no model for embeddings.", ErrorClass.NOT_FOUND)
    if needs.tools and target.supports_tools is False:
        return Skipped(target, "It cannot call tools.", ErrorClass.NOT_FOUND)
    return None


def _resting(target: Deployment, health: Health) -> Skipped | None:
    if health.state == "closed":
        return None
    if health.state == "rested":
        return Skipped(target, "It rests by hand.", ErrorClass.SERVER)
    if health.wait <= 0:
        return None  # its rest is over: this call tries it
    text, error_class = _cause(health)
    if health.state == "half_open":
        return Skipped(target, f"{text} It is being tried again.", error_class, health.wait)
    text = f"{text} It is tried again in {max(1, round(health.wait))} s."
    return Skipped(target, text, error_class, health.wait)


def _cause(health: Health) -> tuple[str, ErrorClass]:
    if health.reason == BY_HAND:
        return "It was rested by hand.", ErrorClass.SERVER
    try:
        error_class = ErrorClass(health.reason)
    except ValueError:
        return "It failed several times.", ErrorClass.SERVER
    return TRAITS[error_class].text, error_class


@dataclass(frozen=True, slots=True)
class _Asked:
    route: Route
    needs: Needs
    loads: Mapping[str, Load]
    turns: Turns
    rng: random.Random | None

    def load(self, target: Deployment) -> Load:
        return self.loads.get(target.id, IDLE)


def _weighted(asked: _Asked, able: Sequence[Deployment]) -> list[Deployment]:
    """Smooth weighted round robin (nginx, ``ngx_http_upstream_round_robin``): of weights 5, 1, 1
    the first is asked five times of seven, but never five times in a row."""
    weights = dict.fromkeys((target.id for target in asked.route.targets), 1)
    for target, weight in zip(asked.route.targets, asked.route.weights, strict=False):
        weights[target.id] = max(0, weight)
    if not any(weights[target.id] for target in able):
        weights = dict.fromkeys(weights, 1)
    return _by_turn(asked, able, weights)


def _round_robin(asked: _Asked, able: Sequence[Deployment]) -> list[Deployment]:
    return _by_turn(asked, able, {target.id: 1 for target in able})


def _by_turn(
    asked: _Asked, able: Sequence[Deployment], weights: Mapping[str, int]
) -> list[Deployment]:
    """The target whose turn it is, then the others by what they are due."""
    key = tuple(target.id for target in asked.route.targets)
    credit = asked.turns.credit.setdefault(key, [0.0] * len(key))
    places = {name: place for place, name in enumerate(key)}
    for target in able:
        credit[places[target.id]] += weights[target.id]
    order = sorted(able, key=lambda target: -credit[places[target.id]])
    credit[places[order[0].id]] -= sum(weights[target.id] for target in able)
    return order


def _least_busy(asked: _Asked, able: Sequence[Deployment]) -> list[Deployment]:
    def busy(target: Deployment) -> float:
        load = asked.load(target)
        return load.in_flight / max(1, load.limit)

    return sorted(able, key=busy)


def _lowest_latency(asked: _Asked, able: Sequence[Deployment]) -> list[Deployment]:
    """The better of two random picks by latency × calls out (Mitzenmacher 2001, "The power of two
    choices"): the fastest is not run over by everybody at once. One never asked is asked."""

    def slow(target: Deployment) -> float:
        load = asked.load(target)
        return (load.latency or 0.0) * (load.in_flight + 1)

    order = sorted(able, key=slow)
    if asked.rng is not None and len(order) > 2:
        first = min(asked.rng.sample(order, 2), key=slow)
        order.remove(first)
        order.insert(0, first)
    return order


def _cheapest(asked: _Asked, able: Sequence[Deployment]) -> list[Deployment]:
    def price(target: Deployment) -> float:
        known = asked.needs.price(target)
        return float("inf") if known is None else known

    return sorted(able, key=price)


_ORDERS: Mapping[str, Callable[[_Asked, Sequence[Deployment]], list[Deployment]]] = {
    "weighted": _weighted,
    "round_robin": _round_robin,
    "least_busy": _least_busy,
    "lowest_latency": _lowest_latency,
    "cheapest": _cheapest,
}
