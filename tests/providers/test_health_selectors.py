"""How models do, as pages read it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import Workspace
from accounts.services import audit
from providers.models import (
    DeploymentHealth,
    HealthChange,
    HealthSlot,
    LlmCall,
    Member,
    ModelDeployment,
    Provider,
)
from providers.selectors import (
    deployment_health,
    provider_health,
    recent_changes,
    switch_figures,
)
from providers.selectors.health import percentile

pytestmark = pytest.mark.django_db

NOW = timezone.now


@pytest.fixture
def workspace() -> Workspace:
    return Workspace.objects.create(name="North")


def model(workspace: Workspace, name: str = "Ollama", **fields: object) -> ModelDeployment:
    provider = Provider.objects.create(workspace=workspace, name=name, kind="openai", **fields)
    return ModelDeployment.objects.create(provider=provider, model="llama", price_in=1, price_out=1)


def slot(one: ModelDeployment, back: timedelta = timedelta(), **fields: object) -> HealthSlot:
    latencies = [0] * 17
    latencies[5] = int(str(fields.get("answered", 0)))
    given = {"owner": "a", "start": NOW() - back, "latencies": latencies, **fields}
    return HealthSlot.objects.create(deployment=one, **given)


def test_a_model_nobody_called_is_not_tested(workspace: Workspace) -> None:
    one = model(workspace)
    row = deployment_health(workspace)[one.pk]
    assert (row.state, row.word, row.reason) == ("untested", "Not tested", "")
    assert [one.state for one in row.figures.strip] == ["none"] * 48
    assert (row.figures.typical, row.figures.calls) == (None, 0)


def test_answers_of_all_processes_add_up(workspace: Workspace) -> None:
    one = model(workspace)
    slot(one, answered=30, recovered=2, errors={"server": 2}, tokens=100)
    slot(one, owner="b", answered=10, errors={"server": 1, "timeout": 4})
    row = deployment_health(workspace)[one.pk]
    assert row.state == "healthy"
    assert (row.figures.calls, row.figures.recovered, row.figures.tokens) == (40, 2, 100)
    assert [(e.error_class, e.count) for e in row.figures.errors] == [("timeout", 4), ("server", 3)]
    assert row.figures.typical == pytest.approx(0.875)
    assert row.figures.strip[-1].state == "good"


def test_the_strip_tells_slow_from_failing_times(workspace: Workspace) -> None:
    one = model(workspace)
    slot(one, timedelta(hours=3), answered=8, failed=2)
    slot(one, timedelta(hours=5), answered=10, slow=2)
    slot(one, timedelta(hours=7), errors={"network": 3})
    slot(one, timedelta(hours=25), answered=10)
    strip = deployment_health(workspace)[one.pk].figures.strip
    states = {entry.state for entry in strip}
    assert [entry.state for entry in strip if entry.state != "none"] == [
        "failing",
        "slow",
        "failing",
    ]
    assert states == {"none", "slow", "failing"}


def test_slow_now(workspace: Workspace) -> None:
    one = model(workspace)
    slot(one, answered=10, slow=5)
    assert deployment_health(workspace)[one.pk].word == "Slow"
    assert provider_health(workspace)[one.provider_id].state == "slow"


@pytest.mark.parametrize(
    ("state", "reason", "key", "text"),
    [
        ("open", "network", "down", "The provider could not be reached. (refused)"),
        ("open", "quota", "resting", "The provider account has no quota or credit left. (refused)"),
        ("half_open", "timeout", "down", "The provider did not answer in time. (refused)"),
        ("rested", "by hand", "resting", "It was taken out of use by hand."),
    ],
)
def test_why_a_model_rests(
    workspace: Workspace, state: str, reason: str, key: str, text: str
) -> None:
    one = model(workspace)
    retry = NOW() + timedelta(seconds=20)
    DeploymentHealth.objects.create(
        deployment=one, state=state, reason=reason, detail="refused", retry_at=retry
    )
    row = deployment_health(workspace)[one.pk]
    assert (row.state, row.reason) == (key, text)
    assert row.next_probe == (retry if state == "open" else None)
    assert (row.trying, row.by_hand) == (state == "half_open", state == "rested")


def test_a_provider_is_down_only_when_all_it_offers_is(workspace: Workspace) -> None:
    one = model(workspace)
    other = ModelDeployment.objects.create(provider=one.provider, model="qwen")
    ModelDeployment.objects.create(provider=one.provider, model="old", retired=True)
    slot(other, answered=3)
    DeploymentHealth.objects.create(deployment=one, state="open", reason="network")
    assert provider_health(workspace)[one.provider_id].state == "healthy"
    DeploymentHealth.objects.create(deployment=other, state="open", reason="network")
    found = provider_health(workspace)[one.provider_id]
    assert (found.word, len(found.deployments)) == ("Not answering", 2)
    Provider.objects.update(enabled=False)
    assert provider_health(workspace)[one.provider_id].word == "Off"


def test_traffic_outweighs_an_older_failed_test(workspace: Workspace) -> None:
    past = NOW() - timedelta(hours=1)
    one = model(workspace, check_ok=False, checked_at=past, check_text="Refused.")
    assert deployment_health(workspace)[one.pk].reason == "Refused."
    slot(one, answered=1)
    assert deployment_health(workspace)[one.pk].state == "healthy"


def test_live_use_counts_processes_heard_of_lately(workspace: Workspace) -> None:
    one = model(workspace, tokens_per_minute=1000)
    Member.objects.create(deployment=one, owner="a", in_flight=2, wanted=5, limit=8)
    Member.objects.create(deployment=one, owner="b", in_flight=1, wanted=1, limit=8)
    gone = NOW() - timedelta(seconds=30)
    Member.objects.create(deployment=one, owner="c", in_flight=9, seen_at=gone)
    LlmCall.objects.create(
        workspace=workspace,
        deployment_id=one.pk,
        fingerprint="f",
        purpose="facets",
        provider="Ollama",
        model="llama",
        sends=1,
        tokens_in=300,
        tokens_out=12,
        sent_at=NOW(),
    )
    live = provider_health(workspace)[one.provider_id].live
    assert (live.in_flight, live.wanted, live.limit, live.processes) == (3, 6, 16, 2)
    assert (live.requests_minute, live.tokens_minute, live.tokens_limit) == (1, 312, 1000)


def test_what_happened_newest_first(workspace: Workspace) -> None:
    one = model(workspace)
    HealthChange.objects.create(
        deployment=one,
        state="open",
        reason="network",
        detail="connection refused",
        went_to="Anthropic",
        switch_ms=1200,
        analysis_id=7,
        created_at=NOW() - timedelta(minutes=9),
    )
    HealthChange.objects.create(
        deployment=one, state="closed", created_at=NOW() - timedelta(minutes=5)
    )
    audit(workspace=workspace, actor=None, action="provider.key_replaced", obj=one.provider)
    rows = recent_changes(workspace)
    assert [row.text for row in rows] == [
        "Somebody replaced the key of Ollama.",
        "Ollama (llama) answers again.",
        "Ollama (llama) could not be reached.",
    ]
    assert rows[2].note == "Connection refused. Work moved to Anthropic in 1.2 s."
    assert (rows[2].analysis_id, rows[2].tone) == (7, "warning")
    assert [row.text for row in recent_changes(workspace, 1, before=rows[1].at)] == [rows[2].text]


def test_time_to_switch(workspace: Workspace) -> None:
    one = model(workspace)
    assert switch_figures(workspace).last is None
    for back, ms in ((1, 1200), (2, 1700), (200, 9000)):
        HealthChange.objects.create(
            deployment=one, state="open", switch_ms=ms, created_at=NOW() - timedelta(hours=back)
        )
    found = switch_figures(workspace)
    assert (found.last, found.slowest, found.count) == (1.2, 1.7, 2)


def test_nothing_of_another_workspace_is_read(workspace: Workspace) -> None:
    other = model(Workspace.objects.create(name="South"))
    HealthChange.objects.create(deployment=other, state="open", switch_ms=5)
    assert (provider_health(workspace), recent_changes(workspace)) == ({}, [])
    assert switch_figures(workspace).count == 0


def test_queries_do_not_grow_with_what_there_is(
    workspace: Workspace, django_assert_num_queries: object
) -> None:
    for name in ("A", "B", "C"):
        one = model(workspace, name)
        slot(one, answered=1)
        Member.objects.create(deployment=one, owner="a")
        DeploymentHealth.objects.create(deployment=one)
        HealthChange.objects.create(deployment=one, state="open")
        audit(workspace=workspace, actor=None, action="provider.key_replaced", obj=one.provider)
    with django_assert_num_queries(5):  # type: ignore[operator]
        provider_health(workspace)
    with django_assert_num_queries(3):  # type: ignore[operator]
        recent_changes(workspace)
    with django_assert_num_queries(1):  # type: ignore[operator]
        switch_figures(workspace)


def test_percentiles_lie_within_their_bucket() -> None:
    counts = [0] * 17
    assert percentile(counts, 0.5) is None
    counts[0], counts[16] = 10, 1
    assert percentile(counts, 0.5) == pytest.approx(0.055)
    assert percentile(counts, 1.0) == 120.0
