"""Trying a resting model that nobody calls: one token of the same model, under the one right."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace

from core.errors import Invalid
from core.work import owner_name
from providers.clients.opening import open_clients
from providers.gateway.breaker import Breaker, BreakerPolicy
from providers.gateway.capabilities import Capabilities
from providers.gateway.errors import ErrorClass, Fault
from providers.gateway.health import Health
from providers.gateway.types import ChatMessage, Client, Deployment, WireChat
from providers.models import ModelDeployment
from providers.runner.health import DatabaseHealth
from providers.services.deployments import deployment_config

TRY_SECONDS = 30.0
"""Longest wait for one answer."""

RIGHT_SECONDS = 120.0
"""How long the right to try lasts: all the calls of a trial and some more."""

FORMS = 4
"""Forms of the request that are tried on a server that refuses the first."""

ANSWERED = frozenset({ErrorClass.BAD_ANSWER, ErrorClass.CONTENT_FILTER})
"""Faults of answers: the model was there to give them, if only with one token."""

_WIRE = WireChat(messages=(ChatMessage("user", "ok"),), max_tokens=1, purpose="probe")


def probe_deployment(pk: int) -> str:
    """Try a model whose rest is over; the state that it is in then, empty if it was not tried.

    It is not when another process has the right, or nothing rests. Calls the server, so it
    belongs into a task. What a server does ends up in the state and raises nothing.
    """
    row = ModelDeployment.objects.select_related("provider").filter(pk=pk).first()
    if row is None or row.retired or not row.provider.enabled:
        return ""
    store, owner = DatabaseHealth(), owner_name()
    right = store.take_probe(owner, str(pk), RIGHT_SECONDS)
    if right is None:
        return ""
    try:
        fault = _failure(deployment_config(row))
    except Invalid:
        fault = Fault(ErrorClass.AUTH, "the stored key can no longer be read", sent=False)
    breaker = _judged(right, fault)
    change = breaker.tell()
    if change is not None:
        store.exchange(owner, [], [replace(change, deployment=str(pk))])
    return breaker.state


def _failure(target: Deployment) -> Fault | None:
    """What goes wrong with a call, ``None`` when all that a breaker asks for are answered."""
    try:
        asyncio.run(_call(target))
    except Fault as fault:
        return None if fault.error_class in ANSWERED else fault
    return None


async def _call(target: Deployment) -> None:
    clients = open_clients()
    try:
        client = clients.get(target.kind)
        if client is None:
            raise Fault(ErrorClass.NOT_FOUND, "this kind of provider is not called", sent=False)
        for _ in range(BreakerPolicy().successes):
            await _once(client, target)
    finally:
        for one in clients.values():
            await one.aclose()


async def _once(client: Client, target: Deployment) -> None:
    seconds = min(TRY_SECONDS, target.timeouts.total)
    target = replace(target, timeouts=replace(target.timeouts, total=seconds))
    try:
        async with asyncio.timeout(seconds):
            if target.embedding_model:
                await client.embed(target, ["ok"], base64=False, timeout=seconds)
            else:
                await _chat(client, target, seconds)
    except TimeoutError:
        raise Fault(ErrorClass.TIMEOUT, f"no complete answer within {seconds:g} s") from None


async def _chat(client: Client, target: Deployment, seconds: float) -> None:
    """Ask for one token, in the form that the server takes."""
    known = Capabilities(schema=False)
    wire = replace(_WIRE, timeout=seconds)
    for _ in range(FORMS):
        wire = replace(
            wire,
            token_field=known.token_field,
            temperature=0.0 if known.temperature else None,
        )
        try:
            await client.chat(target, wire)
        except Fault as fault:
            if fault.error_class is not ErrorClass.BAD_REQUEST:
                raise
            if not known.learn(fault, wire):
                # Models that reason refuse to stop before they have said anything.
                wire = replace(wire, max_tokens=wire.max_tokens * 16)
        else:
            return
    raise Fault(ErrorClass.SERVER, "every form of the trial was refused")


def _judged(right: Health, fault: Fault | None) -> Breaker:
    """The breaker after the trial; what it decided is to be told."""
    policy, now = BreakerPolicy(), time.monotonic()
    breaker = Breaker(policy, random.Random())  # noqa: S311 - jitter, no secret
    breaker.learn(right, now)
    breaker.granted(now, right)
    if fault is None:
        for _ in range(policy.successes):
            breaker.succeeded(now, trial=True)
        return breaker
    breaker.failed(now, fault, trial=True)
    if not breaker.pending:
        # A refusal that would not open a breaker, as of too many calls, keeps this one open.
        breaker.failed(now, Fault(ErrorClass.SERVER, fault.detail), trial=True)
    return breaker
