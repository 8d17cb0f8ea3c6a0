"""What processes tell each other about models, in the database."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import AuditEvent, User, Workspace
from core.errors import Conflict, Forbidden
from core.models import Event
from providers.gateway.health import BY_HAND, Change, Health, Seen
from providers.models import (
    DeploymentHealth,
    HealthChange,
    HealthSlot,
    Member,
    ModelDeployment,
    Provider,
)
from providers.runner.health import DatabaseHealth
from providers.services.health import (
    end_rests,
    reopen_after_change,
    rest_deployment,
    return_deployment,
)

OWNER = "host:1:1"


@pytest.fixture(autouse=True)
def _keep_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    # The test's own connection must stay open inside its transaction.
    monkeypatch.setattr("providers.runner.health.close_old_connections", lambda: None)


@pytest.fixture
def model(workspace: Workspace) -> ModelDeployment:
    provider = Provider.objects.create(workspace=workspace, name="Vendor", kind="openai")
    return ModelDeployment.objects.create(provider=provider, model="m")


def seen(model: ModelDeployment, **changes: Any) -> Seen:
    return Seen(str(model.pk), **changes)


def opened(model: ModelDeployment, version: int = 0, **changes: Any) -> Change:
    values: dict[str, Any] = {"reason": "server", "detail": "HTTP 503", "opens": 1, "wait": 10.0}
    return Change(str(model.pk), version, "open", **{**values, **changes})


def statements(queries: CaptureQueriesContext) -> list[str]:
    words = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE")
    return [one["sql"] for one in queries if not one["sql"].startswith(words)]


def test_an_unknown_model_is_well_and_one_that_is_gone_is_left_out(model: ModelDeployment) -> None:
    store = DatabaseHealth()
    found = store.exchange(OWNER, [seen(model, wanted=3), Seen("999999"), Seen("local")], [])
    assert found == {str(model.pk): Health(wanted=3)}


def test_one_process_s_change_is_every_process_s_state(model: ModelDeployment) -> None:
    one, other = DatabaseHealth(), DatabaseHealth()
    mine = one.exchange(OWNER, [seen(model)], [opened(model, session=7, went_to="B", switch_ms=40)])
    theirs = other.exchange("host:2:2", [seen(model)], [])[str(model.pk)]
    assert (theirs.state, theirs.version, theirs.opens, theirs.reason) == ("open", 1, 1, "server")
    assert 0 < theirs.wait <= mine[str(model.pk)].wait <= 10
    change = HealthChange.objects.get()
    assert (change.analysis_id, change.went_to, change.switch_ms) == (7, "B", 40)
    event = Event.objects.get(topic__name=f"providers:{model.provider.workspace_id}")
    assert (event.kind, event.payload["state"]) == ("health", "open")


def test_a_change_decided_on_an_older_state_is_dropped(model: ModelDeployment) -> None:
    one, other = DatabaseHealth(), DatabaseHealth()
    one.exchange(OWNER, [], [opened(model)])
    late = Change(str(model.pk), 0, "open", reason="timeout", opens=1, wait=99.0)
    found = other.exchange("host:2:2", [], [late])[str(model.pk)]
    assert (found.version, found.reason) == (1, "server")
    assert (HealthChange.objects.count(), Event.objects.count()) == (1, 1)


def test_members_share_limits_while_they_are_heard_of(model: ModelDeployment) -> None:
    one, other = DatabaseHealth(), DatabaseHealth()
    one.exchange(OWNER, [seen(model, wanted=5, in_flight=2, tokens_left=900)], [])
    # A second gateway of the same process has limits of its own, so it counts as well.
    found = other.exchange(OWNER, [seen(model, wanted=1, tokens_left=700)], [])[str(model.pk)]
    assert (found.members, found.wanted, found.tokens_left) == (2, 6, 700)
    gone = timezone.now() - timedelta(seconds=11)
    Member.objects.filter(wanted=5).update(seen_at=gone)
    assert other.exchange(OWNER, [seen(model, wanted=1)], [])[str(model.pk)].members == 1


def test_counts_of_a_process_add_up_in_its_own_row(model: ModelDeployment) -> None:
    one, other = DatabaseHealth(), DatabaseHealth()
    part = seen(model, answered=2, tokens=10, errors={"server": 1}, latencies=(1, 1))
    one.exchange(OWNER, [part], [])
    one.exchange(OWNER, [part], [])
    one.exchange(OWNER, [seen(model, in_flight=1)], [])
    other.exchange("host:2:2", [part], [])
    mine = HealthSlot.objects.filter(owner__startswith=OWNER)
    assert sum(row.answered for row in mine) == 4
    assert sum(row.errors["server"] for row in mine) == 2
    assert sum(row.latencies[1] for row in mine) == 2
    assert sum(row.tokens for row in HealthSlot.objects.all()) == 30


def test_counts_of_an_exchange_that_failed_are_not_counted_twice(
    model: ModelDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DatabaseHealth()
    part = seen(model, answered=2)
    with monkeypatch.context() as broken:
        broken.setattr("providers.runner.health._shared", lambda states: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.exchange(OWNER, [part], [])
    assert HealthSlot.objects.count() == 0
    store.exchange(OWNER, [part], [])
    assert sum(row.answered for row in HealthSlot.objects.all()) == 2


def test_an_exchange_is_four_statements_for_any_number_of_models(model: ModelDeployment) -> None:
    others = [
        ModelDeployment.objects.create(provider=model.provider, model=f"m{n}") for n in range(6)
    ]
    store = DatabaseHealth()
    told = [seen(one, answered=1, latencies=(1,)) for one in (model, *others)]
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            store.exchange(OWNER, told, [])
        assert len(statements(queries)) == 4
    with CaptureQueriesContext(connection) as queries:
        store.exchange(OWNER, [seen(model)], [])
    assert len(statements(queries)) == 3


def test_nobody_tries_before_the_rest_is_over(model: ModelDeployment) -> None:
    store = DatabaseHealth()
    assert store.take_probe(OWNER, str(model.pk), 30.0) is None
    store.exchange(OWNER, [], [opened(model)])
    assert store.take_probe(OWNER, str(model.pk), 30.0) is None
    DeploymentHealth.objects.update(retry_at=timezone.now() - timedelta(seconds=1))
    right = store.take_probe(OWNER, str(model.pk), 30.0)
    assert right is not None
    assert (right.state, right.version) == ("half_open", 2)
    assert 0 < right.wait <= 30
    assert DatabaseHealth().take_probe("host:2:2", str(model.pk), 30.0) is None


def test_the_right_of_a_dead_prober_is_taken_over(model: ModelDeployment) -> None:
    store, other = DatabaseHealth(), DatabaseHealth()
    store.exchange(OWNER, [], [opened(model, wait=0.0)])
    DeploymentHealth.objects.update(retry_at=timezone.now() - timedelta(seconds=1))
    first = store.take_probe(OWNER, str(model.pk), 30.0)
    assert first is not None
    DeploymentHealth.objects.update(probe_until=timezone.now() - timedelta(seconds=1))
    second = other.take_probe("host:2:2", str(model.pk), 30.0)
    assert second is not None
    # The first comes back late: what it found out is of a right that it no longer has.
    store.exchange(OWNER, [], [Change(str(model.pk), first.version, "closed")])
    assert DeploymentHealth.objects.get().state == "half_open"
    other.exchange("host:2:2", [], [Change(str(model.pk), second.version, "closed")])
    assert DeploymentHealth.objects.get().state == "closed"


@pytest.mark.django_db(transaction=True)
def test_of_two_that_race_one_tries(model: ModelDeployment) -> None:
    setup = DatabaseHealth()
    setup.exchange(OWNER, [], [opened(model)])
    DeploymentHealth.objects.update(retry_at=timezone.now() - timedelta(seconds=1))
    start, rights = threading.Barrier(4), []

    def race(number: int) -> None:
        store = DatabaseHealth()
        start.wait()
        rights.append(store.take_probe(f"host:{number}:1", str(model.pk), 30.0))
        store.close()

    threads = [threading.Thread(target=race, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(right is not None for right in rights) == 1


@pytest.mark.django_db(transaction=True)
def test_of_changes_that_race_one_takes_effect_and_no_count_is_lost(
    model: ModelDeployment,
) -> None:
    start = threading.Barrier(4)
    found: list[Health] = []

    def race(number: int) -> None:
        store = DatabaseHealth()
        owner = f"host:{number}:1"
        start.wait()
        told = store.exchange(owner, [seen(model, answered=1, wanted=1)], [opened(model)])
        found.append(told[str(model.pk)])
        store.close()

    threads = [threading.Thread(target=race, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(one.state, one.version) for one in found] == [("open", 1)] * 4
    assert (HealthChange.objects.count(), Event.objects.count()) == (1, 1)
    assert sum(row.answered for row in HealthSlot.objects.all()) == 4
    assert Member.objects.count() == 0


def test_an_owner_rests_a_model_and_returns_it(model: ModelDeployment, owner: User) -> None:
    rest_deployment(actor=owner, deployment=model, note="too dear")
    row = DeploymentHealth.objects.get()
    assert (row.state, row.reason, row.detail, row.retry_at) == (
        "rested",
        BY_HAND,
        "too dear",
        None,
    )
    store = DatabaseHealth()
    assert store.exchange(OWNER, [seen(model)], [])[str(model.pk)].state == "rested"
    assert store.take_probe(OWNER, str(model.pk), 30.0) is None
    with pytest.raises(Conflict):
        rest_deployment(actor=owner, deployment=model)
    return_deployment(actor=owner, deployment=model)
    assert DeploymentHealth.objects.get().state == "closed"
    with pytest.raises(Conflict):
        return_deployment(actor=owner, deployment=model)
    actions = AuditEvent.objects.order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["deployment.rested", "deployment.returned"]
    assert Event.objects.count() == 2


def test_only_owners_rest_models(model: ModelDeployment, analyst: User) -> None:
    for act in (rest_deployment, return_deployment):
        with pytest.raises(Forbidden):
            act(actor=analyst, deployment=model)
    assert not DeploymentHealth.objects.exists()


@pytest.mark.parametrize(
    ("reason", "answered", "state"),
    [
        ("auth", False, "closed"),
        ("quota", False, "closed"),
        ("server", False, "open"),
        ("server", True, "closed"),
    ],
)
def test_what_a_person_mended_is_used_again(
    model: ModelDeployment, reason: str, answered: bool, state: str
) -> None:
    DatabaseHealth().exchange(OWNER, [], [opened(model, reason=reason)])
    assert reopen_after_change(model.provider, answered=answered) == (state == "closed")
    assert DeploymentHealth.objects.get().state == state


def test_what_a_person_took_out_of_use_stays_out(model: ModelDeployment, owner: User) -> None:
    rest_deployment(actor=owner, deployment=model)
    assert reopen_after_change(model.provider, answered=True) == 0
    assert DeploymentHealth.objects.get().state == "rested"


def test_going_on_has_every_resting_model_tried_by_the_next_call(
    model: ModelDeployment, owner: User
) -> None:
    store = DatabaseHealth()
    store.exchange(OWNER, [], [opened(model, reason="auth", wait=600.0)])
    other = ModelDeployment.objects.create(provider=model.provider, model="other")
    rest_deployment(actor=owner, deployment=other)
    assert end_rests(model.provider.workspace) == 1
    found = store.exchange(OWNER, [seen(model)], [])[str(model.pk)]
    assert (found.state, found.version, found.wait) == ("open", 2, 0.0)
    assert store.take_probe(OWNER, str(model.pk), 30.0) is not None
    assert DeploymentHealth.objects.get(deployment=other).state == "rested"
