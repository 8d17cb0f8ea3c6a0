"""The order of use of a purpose: what each model does now, and what happens if one fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import cast

from django.db.models import Avg
from django.utils import timezone

from accounts.models import Workspace
from core.figures import money, share, thousands, when
from providers.gateway import types as gateway
from providers.gateway.health import Health, State
from providers.gateway.strategy import Needs, Skipped, choose
from providers.models import (
    BreakerState,
    CallState,
    DeploymentHealth,
    LlmCall,
    ModelDeployment,
    Purpose,
    Strategy,
)
from providers.prices import UnitPrices, cost_at
from providers.selectors.prices import prices_of
from providers.selectors.routes import PlannedTarget, RoutePlan, offered, route_plan, wants_vectors

TYPICAL_DAYS = 30
TYPICAL_CALLS = 1000
"""The newest calls of so many days say how many tokens one takes."""

TYPICAL_TOKENS: dict[str, tuple[int, int]] = {Purpose.EMBEDDINGS: (300, 0)}
TYPICAL_CHAT = (1500, 250)
"""Tokens in and out of a call where none was made yet: a conversation of about 900 words with its
instructions, and its answered facets."""

SHARED = {Strategy.WEIGHTED, Strategy.ROUND_ROBIN, Strategy.LEAST_BUSY, Strategy.LOWEST_LATENCY}
"""Strategies under which every able model is in use at once."""

DOES = {
    Strategy.WEIGHTED: "takes its share of the work",
    Strategy.ROUND_ROBIN: "takes every turn of its own",
    Strategy.LEAST_BUSY: "asked while it is the least busy",
    Strategy.LOWEST_LATENCY: "asked while it is the fastest",
    Strategy.CHEAPEST: "the cheapest, takes all work now",
    Strategy.PRIORITY: "takes all work now",
}

WHY = {
    "network": "could not be reached",
    "timeout": "did not answer in time",
    "server": "reported faults",
    "rate_limit": "took too many requests",
    "quota": "has no quota left",
    "auth": "refused the key",
    "permission": "does not allow this model",
    "not_found": "does not know this model",
    "bad_request": "refused most requests",
}
"""Why a model rests, in few words, by class of error."""

ABILITIES = (
    ("supports_schema", "answers in a fixed form (JSON schema)"),
    ("supports_tools", "tools"),
    ("supports_streaming", "answers word by word"),
)


@dataclass(frozen=True, slots=True)
class OrderRow:
    """One model of a route with its state: ``state`` picks the pill, ``text`` says more."""

    deployment: ModelDeployment
    position: int
    weight: int
    state: str
    word: str
    text: str
    first: bool = False
    last: bool = False


@dataclass(frozen=True, slots=True)
class Preview:
    """What happens if a model fails: who takes the work, what is lost, what it costs.

    ``waits``: nobody takes it, the work stands still. ``lost`` and ``cost`` are sentences.
    """

    failing: ModelDeployment
    takes: ModelDeployment | None
    lost: tuple[str, ...]
    cost: str
    then: str

    @property
    def waits(self) -> bool:
        """Whether no model is left."""
        return self.takes is None


@dataclass(frozen=True, slots=True)
class OrderOfUse:
    """The card of one purpose. ``others`` are models that could be added."""

    plan: RoutePlan
    rows: tuple[OrderRow, ...]
    others: tuple[ModelDeployment, ...]
    preview: Preview | None = None

    @property
    def weighted(self) -> bool:
        """Whether weights count."""
        return self.plan.strategy == Strategy.WEIGHTED


def order_of_use(workspace: Workspace, purpose: str, failing: int | None = None) -> OrderOfUse:
    """The card of a purpose, with what happens if the model ``failing`` does. Six queries at most.

    A ``failing`` that is no usable target of the route is passed over.
    """
    plan = route_plan(workspace, purpose)
    states = states_of([target.deployment for target in plan.targets])
    route = bare_route(plan)
    listed = {target.deployment.pk for target in plan.targets}
    pool = offered(workspace, embeds=wants_vectors(purpose))
    return OrderOfUse(
        plan,
        rows_of(plan, states, route),
        tuple(model for model in pool if model.pk not in listed),
        preview_of(workspace, plan, states, route, failing),
    )


def states_of(models: list[ModelDeployment]) -> dict[str, DeploymentHealth]:
    """The stored breakers by the gateway's names of the models. One query."""
    rows = DeploymentHealth.objects.filter(deployment__in=[model.pk for model in models])
    return {str(row.deployment_id): row for row in rows}


def bare_config(model: ModelDeployment, prices: UnitPrices | None) -> gateway.Deployment:
    """A model as a strategy sees it: without key and address, which it must not need."""
    return gateway.Deployment(
        id=str(model.pk),
        provider=model.provider.name,
        kind=model.provider.kind,
        model="" if model.embeds else model.model,
        embedding_model=model.model if model.embeds else "",
        price_in=prices.tokens_in if prices else None,
        price_out=prices.tokens_out if prices else None,
        context_tokens=model.context_tokens,
        supports_schema=model.supports_schema,
        supports_tools=model.supports_tools,
        supports_streaming=model.supports_streaming,
    )


def bare_route(plan: RoutePlan) -> gateway.Route:
    """The usable part of a plan as a strategy sees it. One query."""
    models = [target.deployment for target in plan.usable]
    prices = prices_of(models)
    return gateway.Route(
        targets=tuple(bare_config(model, prices[model.pk]) for model in models),
        strategy=cast(gateway.Strategy, plan.strategy.value),
        weights=tuple(target.weight for target in plan.usable),
    )


def shared_health(row: DeploymentHealth, now: datetime) -> Health:
    """A stored breaker as the gateway's strategies take it."""
    wait = (row.retry_at - now).total_seconds() if row.retry_at else 0.0
    return Health(
        state=cast(State, BreakerState(row.state).value),
        version=row.version,
        reason=row.reason,
        detail=row.detail,
        opens=row.opens,
        wait=max(0.0, wait),
    )


def rows_of(
    plan: RoutePlan, states: Mapping[str, DeploymentHealth], route: gateway.Route
) -> tuple[OrderRow, ...]:
    """Every target with what it does now."""
    now = timezone.now()
    choice = choose(
        route,
        {key: shared_health(row, now) for key, row in states.items()},
        _needs(plan.purpose),
    )
    order = [target.id for target in choice.order]
    skipped = {one.target.id: one for one in choice.skipped}
    last = len(plan.targets) - 1
    rows = []
    for place, target in enumerate(plan.targets):
        key = str(target.deployment.pk)
        state, word, text = _standing(plan, target, order, skipped.get(key), states.get(key))
        rows.append(
            OrderRow(
                target.deployment,
                place + 1,
                target.weight,
                state,
                word,
                text,
                first=place == 0,
                last=place == last,
            )
        )
    return tuple(rows)


def _standing(
    plan: RoutePlan,
    target: PlannedTarget,
    order: list[str],
    skipped: Skipped | None,
    health: DeploymentHealth | None,
) -> tuple[str, str, str]:
    """The pill's key and word, and what stands beneath the name."""
    model = target.deployment
    if model.retired:
        return "off", "Skipped", "no longer offered by its provider"
    if not model.provider.enabled:
        return "off", "Off", "switched off"
    if skipped is not None:
        return _left_out(skipped, health)
    if health is not None and health.state in (BreakerState.OPEN, BreakerState.HALF_OPEN):
        trying = health.state == BreakerState.HALF_OPEN
        return "resting", "Being tried" if trying else "Resting", "tried with the next call"
    place = order.index(str(model.pk))
    if plan.strategy == Strategy.WEIGHTED:
        return "ready", "In use", _part_of(plan, target, order)
    if place == 0 or plan.strategy in SHARED:
        return "ready", "In use", DOES[plan.strategy]
    return "ready", "Ready", "next in line" if place == 1 else f"asked as number {place + 1}"


def _left_out(skipped: Skipped, health: DeploymentHealth | None) -> tuple[str, str, str]:
    if health is None or health.state == BreakerState.CLOSED:
        return "down", "Skipped", skipped.reason
    if health.state == BreakerState.RESTED:
        return "resting", "Rested by hand", "until somebody returns it"
    local = timezone.localtime
    again = when(local(health.retry_at), local()) if health.retry_at else "any moment"
    why = WHY.get(health.reason, "failed too often")
    gone = health.reason == "network"
    state, word = ("down", "Skipped") if gone else ("resting", "Resting")
    return state, word, f"{why}, tried again at {again}"


def _part_of(plan: RoutePlan, target: PlannedTarget, order: list[str]) -> str:
    able = [one for one in plan.usable if str(one.deployment.pk) in order]
    whole = sum(one.weight for one in able)
    return f"takes {share(target.weight / whole)} of the work now"


def _needs(purpose: str) -> Needs:
    return Needs(embeddings=wants_vectors(purpose))


def preview_of(
    workspace: Workspace,
    plan: RoutePlan,
    states: Mapping[str, DeploymentHealth],
    route: gateway.Route,
    failing: int | None,
) -> Preview | None:
    """What happens if ``failing`` does; ``None`` when it is not a target that could be asked.

    The route's own rule decides, with the model taken for resting. One query.
    """
    models = {target.deployment.pk: target.deployment for target in plan.usable}
    if failing not in models:
        return None
    now = timezone.now()
    known = {key: shared_health(row, now) for key, row in states.items()}
    known[str(failing)] = replace(
        known.get(str(failing), Health()), state="open", reason="network", wait=60.0
    )
    order = choose(route, known, _needs(plan.purpose)).order
    takes = models[int(order[0].id)] if order else None
    after = models[int(order[1].id)] if len(order) > 1 else None
    return Preview(
        models[failing],
        takes,
        lost_abilities(models[failing], takes) if takes else (),
        cost_change(workspace, plan.purpose, models[failing], takes) if takes else "",
        _then(after, takes),
    )


def _then(after: ModelDeployment | None, takes: ModelDeployment | None) -> str:
    last = "the local engine on this machine, where an analysis allows it; else its work waits"
    if takes is None:
        return f"No other model is left. What remains is {last} and nothing is lost."
    if after is None:
        return f"After that: {last}."
    return f"After that: {after}. Last: {last}."


def lost_abilities(failing: ModelDeployment, takes: ModelDeployment) -> tuple[str, ...]:
    """What the one has and the other is known to lack, in words."""
    lost = [
        words
        for name, words in ABILITIES
        if getattr(failing, name) and getattr(takes, name) is False
    ]
    room, less = failing.context_tokens, takes.context_tokens
    if less is not None and (room is None or less < room):
        lost.append(f"room: {thousands(less)} tokens at most, longer texts are shortened or wait")
    return tuple(lost)


def cost_change(
    workspace: Workspace, purpose: str, failing: ModelDeployment, takes: ModelDeployment
) -> str:
    """How the price of 1,000 calls changes, at the tokens that calls of the purpose take."""
    tokens, measured = typical_tokens(workspace, purpose)
    prices = prices_of([failing, takes])
    before, after = (_thousand(prices[model.pk], tokens) for model in (failing, takes))
    basis = "at the tokens your calls take" if measured else f"at {tokens[0]:,} tokens a call"
    if before is None or after is None:
        unknown = takes if after is None else failing
        return f"The change in cost is unknown: {unknown} has no price."
    if abs(after - before) < 0.005:
        return f"1,000 calls cost the same, {money(after)}, {basis}."
    more = "more" if after > before else "less"
    return (
        f"1,000 calls cost {money(abs(after - before))} {more}: "
        f"{money(after)} instead of {money(before)}, {basis}."
    )


def typical_tokens(workspace: Workspace, purpose: str) -> tuple[tuple[int, int], bool]:
    """Tokens in and out of a call of the purpose, and whether they were measured. One query."""
    recent = LlmCall.objects.filter(
        workspace=workspace,
        purpose=purpose,
        state=CallState.OK,
        sent_at__gte=timezone.now() - timedelta(days=TYPICAL_DAYS),
    ).order_by("-sent_at")[:TYPICAL_CALLS]
    seen = recent.aggregate(asked=Avg("tokens_in"), answered=Avg("tokens_out"))
    if seen["asked"]:
        return (round(seen["asked"]), round(seen["answered"] or 0)), True
    return TYPICAL_TOKENS.get(purpose, TYPICAL_CHAT), False


def _thousand(prices: UnitPrices | None, tokens: tuple[int, int]) -> float | None:
    """US dollars for 1,000 calls, ``None`` when the price is unknown."""
    return None if prices is None else 1000 * cost_at(prices, *tokens, tokens_cached=0)
