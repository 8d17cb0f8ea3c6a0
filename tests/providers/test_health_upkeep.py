"""Resting models that nobody calls are tried, and old rows of health are added up and deleted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_q.models import OrmQ

from accounts.models import Workspace
from providers.clients.scenario import Act, Scenario, Step
from providers.clients.scripted_server import ScriptedServer
from providers.models import (
    DeploymentHealth,
    HealthChange,
    HealthSlot,
    Member,
    ModelDeployment,
    Provider,
)
from providers.runner.probing import probe_deployment
from providers.services import health_upkeep
from providers.services.health_upkeep import fold_slots, half_hour, idle_probes, prune
from providers.tasks import probe_deployment as task

NOW = timezone.now


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setattr("providers.runner.health.close_old_connections", lambda: None)
    monkeypatch.setattr(health_upkeep, "_queued", {})
    settings.ALLOW_PRIVATE_PROVIDERS = True


@contextmanager
def serving(scenario: Scenario) -> Iterator[str]:
    """A server with its loop in a thread; its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = ScriptedServer(scenario)
    try:
        yield asyncio.run_coroutine_threadsafe(server.start(), loop).result(20)
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def resting(workspace: Workspace, **changes: Any) -> ModelDeployment:
    """A model whose rest has been over for a minute."""
    values: dict[str, Any] = {"kind": "openai", "base_url": "http://127.0.0.1:9/v1"}
    embeds = changes.pop("embeds", False)
    health = {"state": "open", "reason": "server", "version": 3, "opens": 2}
    health |= {"retry_at": NOW() - timedelta(minutes=1), **changes.pop("health", {})}
    number = Provider.objects.count()
    provider = Provider.objects.create(
        workspace=workspace, name=f"P{number}", total_timeout=20.0, **{**values, **changes}
    )
    one = ModelDeployment.objects.create(provider=provider, model="m", embeds=embeds)
    DeploymentHealth.objects.create(deployment=one, **health)
    return one


def slot(one: ModelDeployment, back: timedelta, owner: str, **fields: Any) -> HealthSlot:
    return HealthSlot.objects.create(deployment=one, start=NOW() - back, owner=owner, **fields)


@pytest.mark.parametrize(
    "scenario", [Scenario(), Scenario(reasoning=True), Scenario(mix=(Step(act=Act.EMPTY),))]
)
def test_a_model_that_answers_is_used_again(workspace: Workspace, scenario: Scenario) -> None:
    with serving(scenario) as url:
        one = resting(workspace, base_url=url)
        assert probe_deployment(one.pk) == "closed"
    row = DeploymentHealth.objects.get()
    assert (row.state, row.version, row.opens) == ("closed", 5, 0)
    assert HealthChange.objects.get().state == "closed"


def test_an_embedding_model_is_asked_for_a_vector(workspace: Workspace) -> None:
    with serving(Scenario()) as url:
        one = resting(workspace, base_url=url, embeds=True)
        assert probe_deployment(one.pk) == "closed"


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (Act.SERVER_ERROR, "server"),
        (Act.RATE_LIMIT, "server"),
        (Act.UNAUTHORIZED, "auth"),
        (Act.DROPPED, "network"),
    ],
)
def test_a_model_that_still_fails_rests_longer(workspace: Workspace, act: Act, reason: str) -> None:
    with serving(Scenario(mix=(Step(act=act, retry_after=1.0),))) as url:
        one = resting(workspace, base_url=url)
        assert probe_deployment(one.pk) == "open"
    row = DeploymentHealth.objects.get()
    assert (row.state, row.reason, row.version, row.opens) == ("open", reason, 5, 3)
    assert row.retry_at is not None
    assert row.retry_at > NOW() + timedelta(seconds=10)


def test_nothing_is_called_without_the_right(workspace: Workspace) -> None:
    one = resting(workspace, health={"retry_at": NOW() + timedelta(minutes=1)})
    task(one.pk)
    assert DeploymentHealth.objects.get().version == 3
    task(one.pk + 1)


def test_a_key_that_cannot_be_read_counts_as_refused(workspace: Workspace) -> None:
    one = resting(workspace, key_encrypted="rubbish")
    assert probe_deployment(one.pk) == "open"
    assert DeploymentHealth.objects.get().reason == "auth"


def test_only_rests_that_nobody_ended_are_queued_once(workspace: Workspace) -> None:
    queued = [
        resting(workspace),
        resting(workspace, health={"state": "half_open", "probe_until": NOW() - timedelta(1)}),
    ]
    resting(workspace, health={"retry_at": NOW() - timedelta(seconds=3)})
    resting(workspace, health={"state": "rested"})
    resting(workspace, health={"state": "closed"})
    resting(workspace, enabled=False)
    ModelDeployment.objects.filter(pk=resting(workspace).pk).update(retired=True)
    assert idle_probes() == len(queued)
    assert idle_probes() == 0
    assert OrmQ.objects.count() == len(queued)


def test_a_look_queues_a_few(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_upkeep, "MOST_PROBES", 2)
    for _ in range(3):
        resting(workspace)
    assert [idle_probes(), idle_probes(), idle_probes()] == [2, 1, 0]


def test_old_rows_go_and_young_ones_stay(workspace: Workspace) -> None:
    one = resting(workspace)
    slot(one, timedelta(days=9), "a")
    slot(one, timedelta(days=7), "a")
    Member.objects.create(deployment=one, owner="a", seen_at=NOW() - timedelta(hours=2))
    Member.objects.create(deployment=one, owner="b")
    HealthChange.objects.create(deployment=one, state="open", created_at=NOW() - timedelta(days=91))
    HealthChange.objects.create(deployment=one, state="open")
    assert prune() == 3
    left = (HealthSlot, Member, HealthChange)
    assert [rows.objects.count() for rows in left] == [1, 1, 1]


def test_counts_of_processes_are_added_up_by_half_hours(workspace: Workspace) -> None:
    one = resting(workspace)
    back = NOW() - half_hour(NOW()) + timedelta(hours=2) - timedelta(minutes=3)
    fields = {"answered": 2, "tokens": 5, "errors": {"server": 1}, "latencies": [0, 2]}
    slot(one, back, "a", **fields)
    slot(one, back, "b", **fields)
    young = slot(one, timedelta(), "a", **fields)
    assert fold_slots() == 2
    slot(one, back - timedelta(minutes=10), "c", answered=1, failed=4, latencies=[1])
    assert fold_slots() == 1
    assert fold_slots() == 0
    whole = HealthSlot.objects.exclude(pk=young.pk).get()
    assert (whole.answered, whole.failed, whole.tokens) == (5, 4, 10)
    assert (whole.errors, whole.latencies, whole.owner) == ({"server": 2}, [1, 4], "")
    assert whole.start == half_hour(NOW() - back)


@pytest.mark.django_db(transaction=True)
def test_two_supervisors_do_not_count_anything_twice(workspace: Workspace) -> None:
    one = resting(workspace)
    for number in range(40):
        slot(one, timedelta(hours=2), f"p{number}", answered=1)
    start = threading.Barrier(2)

    def fold() -> None:
        from django.db import connection

        start.wait()
        fold_slots()
        connection.close()

    threads = [threading.Thread(target=fold) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [row.answered for row in HealthSlot.objects.all()] == [40]
