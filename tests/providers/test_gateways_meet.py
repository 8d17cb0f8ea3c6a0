"""Two gateways on one database: what one finds out, the other knows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import Workspace
from providers.clients.scenario import Act, Scenario, Step
from providers.clients.scripted_server import ScriptedServer
from providers.gateway.gateway import Gateway
from providers.gateway.types import CallScope, Route
from providers.models import (
    DeploymentHealth,
    HealthChange,
    HealthSlot,
    LlmAttempt,
    LlmCall,
    Member,
    ModelDeployment,
    Provider,
)
from providers.runner import open_gateway
from providers.selectors import deployment_health, recent_changes, switch_figures
from providers.services import deployment_config
from tests.providers.support import chat_call

pytestmark = pytest.mark.django_db(transaction=True)


def model(workspace: Workspace, name: str) -> ModelDeployment:
    provider = Provider.objects.create(workspace=workspace, name=name, kind="openai")
    return ModelDeployment.objects.create(provider=provider, model="m")


def meet(
    workspace: Workspace,
    work: Callable[[Route, CallScope], Awaitable[None]],
    *models: ModelDeployment,
    bad: Act,
) -> None:
    """Run work on a route whose first server is bad and whose second is well."""
    targets = [deployment_config(one) for one in models]

    async def run() -> None:
        scenarios = (Scenario(mix=(Step(act=bad),)), Scenario())
        servers = [ScriptedServer(one) for one in scenarios]
        urls = [await server.start() for server in servers]
        route = Route(
            tuple(
                replace(target, base_url=url, allow_private=True)
                for target, url in zip(targets, urls, strict=True)
            )
        )
        try:
            await work(route, CallScope(workspace=workspace.pk, session=7))
        finally:
            for server in servers:
                await server.stop()

    asyncio.run(run())


async def ask(gateway: Gateway, route: Route, scope: CallScope, texts: range) -> set[str]:
    """Ask so many questions; who answered."""
    calls = [gateway.chat(chat_call(f"user: question {n}"), route, scope) for n in texts]
    return {one.provider for one in await asyncio.gather(*calls)}


def test_a_model_that_failed_one_process_is_not_called_by_another(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What happened is told when the gateway closes, when it is known where calls went.
    monkeypatch.setattr("providers.gateway.board.STALE_SECONDS", 600.0)
    first, second = model(workspace, "First"), model(workspace, "Second")
    told: dict[str, Any] = {}

    async def work(route: Route, scope: CallScope) -> None:
        one = open_gateway(workspace.pk)
        told["one"] = await ask(one, route, scope, range(12))
        await one.aclose()
        told["members"] = await asyncio.to_thread(Member.objects.count)
        told["failed"] = await asyncio.to_thread(LlmAttempt.objects.count)
        other = open_gateway(workspace.pk)
        told["other"] = await ask(other, route, scope, range(100, 112))
        await other.aclose()

    meet(workspace, work, first, second, bad=Act.SERVER_ERROR)
    assert (told["one"], told["other"], told["members"]) == ({"Second"}, {"Second"}, 0)
    assert LlmCall.objects.filter(state="ok").count() == 24
    assert 0 < LlmAttempt.objects.count() == told["failed"]
    row = DeploymentHealth.objects.get(deployment=first)
    assert (row.state, row.reason, row.version) == ("open", "server", 1)
    change = HealthChange.objects.get()
    assert (change.analysis_id, change.went_to) == (7, "Second")
    assert change.switch_ms is not None
    assert sum(slot.answered for slot in HealthSlot.objects.filter(deployment=second)) == 24
    health = deployment_health(workspace)
    assert (health[first.pk].word, health[second.pk].word) == ("Not answering", "Healthy")
    assert health[first.pk].next_probe is not None
    assert recent_changes(workspace)[0].text == "First (m) reported faults."
    assert switch_figures(workspace).count == 1


def test_a_call_tries_a_rested_model_and_brings_it_back(workspace: Workspace) -> None:
    first, second = model(workspace, "First"), model(workspace, "Second")
    past = timezone.now() - timedelta(seconds=1)
    DeploymentHealth.objects.create(
        deployment=first, state="open", reason="server", version=4, opens=1, retry_at=past
    )

    async def work(route: Route, scope: CallScope) -> None:
        gateway = open_gateway(workspace.pk)
        swapped = replace(
            route,
            targets=(
                replace(route.targets[0], base_url=route.targets[1].base_url),
                route.targets[1],
            ),
        )
        for start in range(0, 60, 3):
            await ask(gateway, swapped, scope, range(start, start + 3))
        await gateway.aclose()

    meet(workspace, work, first, second, bad=Act.SERVER_ERROR)
    row = DeploymentHealth.objects.get(deployment=first)
    assert (row.state, row.opens) == ("closed", 0)
    assert [change.state for change in HealthChange.objects.all()] == ["closed"]
