"""The page of all providers: states, figures, spending, what happened; for whom, at what cost."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEvent
from core.events import news
from core.topics import registry
from providers import services, tasks
from providers.models import (
    BreakerState,
    DeploymentHealth,
    HealthChange,
    HealthSlot,
    LlmAttempt,
    LlmCall,
    ModelDeployment,
    Provider,
    ProviderKind,
    SpendBook,
    SpendLimit,
)
from providers.selectors import spend

pytestmark = pytest.mark.django_db


def make_provider(workspace, name: str, **values) -> ModelDeployment:
    given = {"kind": ProviderKind.OPENAI, "check_ok": True, "checked_at": timezone.now(), **values}
    row = Provider.objects.create(workspace=workspace, name=name, **given)
    return ModelDeployment.objects.create(provider=row, model=f"{name.lower()}-chat")


def make_call(workspace, number: int, provider: str, **values) -> LlmCall:
    given = {
        "purpose": "facets",
        "model": "m",
        "state": "ok",
        "tokens_in": 1000,
        "tokens_out": 100,
        "cost": Decimal("0.01"),
        "sent_at": timezone.now(),
        **values,
    }
    return LlmCall.objects.create(
        workspace=workspace, fingerprint=f"{number:064d}", provider=provider, **given
    )


@pytest.fixture
def anthropic(workspace) -> ModelDeployment:
    return make_provider(workspace, "Anthropic")


def html_of(client, **query: str) -> str:
    answer = client.get(reverse("providers:list"), query)
    assert answer.status_code == 200
    return answer.content.decode()


def test_says_how_each_provider_does(owner_client, workspace, anthropic) -> None:
    HealthSlot.objects.create(
        deployment=anthropic,
        start=timezone.now(),
        owner="a",
        answered=95,
        failed=5,
        recovered=7,
        latencies=[0, 0, 0, 0, 0, 90, 5],
    )
    off = make_provider(workspace, "OpenRouter", enabled=False)
    html = html_of(owner_client)
    assert "Healthy" in html
    assert "5.0% failed" in html
    assert "1 in 20 over" in html
    assert "7 failed once, then worked" in html
    assert "0 good, 0 slow, 0 failing, 48 without calls" in html
    assert "not in use" in html
    assert f'id="provider-{off.provider_id}"' in html


def test_names_who_does_not_answer_since_when_and_why(owner_client, workspace, anthropic) -> None:
    DeploymentHealth.objects.create(
        deployment=anthropic,
        state=BreakerState.OPEN,
        reason="network",
        detail="refuses connections",
        retry_at=timezone.now() + timedelta(minutes=2),
    )
    html = html_of(owner_client)
    assert "Anthropic has not answered since" in html
    assert "refuses connections" in html
    assert "Test Anthropic" in html
    assert "Not answering" in html


def test_money_is_what_limits_count_and_unpriced_is_never_nothing(
    owner_client, workspace, anthropic
) -> None:
    make_provider(workspace, "Strange")
    make_call(workspace, 1, "Anthropic", cost=Decimal("1.50"))
    make_call(workspace, 2, "Strange", cost=None)
    doubt = make_call(workspace, 3, "Anthropic", state="doubt", cost=None)
    LlmAttempt.objects.create(
        call=doubt, error_class="timeout", in_doubt=True, cost=Decimal("0.25"), provider="Anthropic"
    )
    now = timezone.now()
    scope = f"workspace:{workspace.pk}"
    SpendLimit.objects.create(workspace=workspace, scope=scope, period="month", amount=10)
    SpendBook.objects.create(
        scope=scope, key=f"{now:%Y-%m}", spent=Decimal("1.50"), doubt=Decimal("0.25")
    )
    html = html_of(owner_client)
    assert "of $10.00" in html
    assert "Even pace for $10" in html
    assert html.count("$1.75") >= 3  # the figure, the row, the table of days, the limit
    assert "unpriced" in html
    assert "1 call without a known price is not in the picture" in html
    assert "Anthropic · m" in html_of(owner_client, by="model")
    assert "Trials, outside any project" in html_of(owner_client, by="project")


def test_a_month_is_every_day_of_it_and_no_other(workspace) -> None:
    start = spend.month_start()
    make_call(workspace, 1, "Anthropic", cost=Decimal(1), sent_at=start)
    make_call(workspace, 2, "Anthropic", cost=Decimal(2), sent_at=timezone.now())
    make_call(workspace, 3, "Anthropic", cost=Decimal(4), sent_at=start - timedelta(seconds=1))
    for _ in range(2):  # read, and read again with what is kept of the days that are over
        days = spend.spend_days(workspace)
        assert days.totals["Anthropic"].cost == 3
        assert sum(days.on(day).cost for day in range(1, days.days + 1)) == 3
        assert days.on(1).cost in (1, 3)
        (row,) = spend.spend_by_model(workspace)
        assert (row.spent.cost, row.spent.calls, row.part) == (3, 2, 1.0)
    make_call(workspace, 5, "Anthropic", cost=Decimal(8), sent_at=timezone.now())
    assert spend.spend_by_provider(workspace)["Anthropic"].cost == 11


def test_what_happened_and_all_of_it_by_pages(owner_client, workspace, anthropic) -> None:
    start = timezone.now() - timedelta(hours=2)
    for number in range(45):
        HealthChange.objects.create(
            deployment=anthropic,
            state=BreakerState.OPEN,
            reason="timeout",
            went_to="OpenAI",
            switch_ms=1200,
            created_at=start + timedelta(minutes=number),
        )
    html = html_of(owner_client)
    assert html.count("stopped answering in time") == 4
    assert "Work moved to OpenAI in 1.2 s" in html
    assert "45 switches this week, slowest 1.2 s" in html
    first = owner_client.get(reverse("providers:events"))
    assert first.content.decode().count("stopped answering in time") == 40
    older = owner_client.get(reverse("providers:events"), {"before": first.context["older"]})
    assert older.content.decode().count("stopped answering in time") == 5
    for strange in ("yesterday", "2026-99-99T00:00:00Z", "0001-01-01T00:00:00+00:00"):
        answer = owner_client.get(reverse("providers:events"), {"before": strange})
        assert answer.context["first"]


def test_without_a_provider_the_known_ones_are_offered(owner_client, analyst_client) -> None:
    html = html_of(owner_client)
    assert "No model connected yet" in html
    assert "?preset=ollama" in html
    assert "?preset=" not in html_of(analyst_client)


def test_analysts_see_and_owners_change(analyst_client, viewer_client, anthropic) -> None:
    html = html_of(analyst_client)
    assert "disabled" in html
    assert "Add provider" not in html
    assert "route-change" not in html
    assert viewer_client.get(reverse("providers:list")).status_code == 403
    url = reverse("providers:switch", args=[anthropic.provider_id])
    assert analyst_client.post(url, {"enabled": "0"}).status_code == 403


def test_the_switch_answers_with_the_table_for_scripts(owner_client, anthropic) -> None:
    url = reverse("providers:switch", args=[anthropic.provider_id])
    answer = owner_client.post(url, {}, headers={"HX-Request": "true"})
    assert answer.status_code == 200
    assert answer.headers["HX-Trigger"] == "providers-changed"
    assert b"<html" not in answer.content
    anthropic.provider.refresh_from_db()
    assert not anthropic.provider.enabled


def test_polling_gets_what_the_socket_would_send(owner_client, anthropic) -> None:
    answer = owner_client.get(reverse("providers:fragments")).json()
    for name in ("notice", "kpis", "rows", "feed", "limits"):
        assert f'id="providers-{name}"' in answer["html"]
    assert answer["again"] == ["providers-order", "providers-spend"]


def test_all_are_tried_in_the_background(owner_client, workspace, anthropic, monkeypatch) -> None:
    make_provider(workspace, "Off", enabled=False)
    woken: list[tuple[object, ...]] = []
    monkeypatch.setattr("providers.services.trials.wake", lambda *args: woken.append(args))
    answer = owner_client.post(reverse("providers:test-all"), follow=True)
    assert "Testing 1 provider." in answer.content.decode()
    ((path, pk, _),) = woken
    assert path == "providers.tasks.try_out"
    assert pk == anthropic.provider_id


def test_a_trial_in_the_background_writes_its_result(owner, analyst, viewer, workspace) -> None:
    model = make_provider(workspace, "Demo", kind=ProviderKind.SCRIPTED, check_ok=None)
    tasks.try_out(model.provider_id, viewer.pk)
    model.provider.refresh_from_db()
    assert model.provider.check_ok is None
    tasks.try_out(model.provider_id, analyst.pk)
    model.provider.refresh_from_db()
    assert model.provider.check_ok is True
    assert AuditEvent.objects.filter(action="provider.tested").count() == 1
    tasks.try_out(0, analyst.pk)


def test_any_number_of_providers_costs_as_many_queries(
    owner_client, workspace, anthropic, django_assert_max_num_queries
) -> None:
    for number in range(20):
        make_provider(workspace, f"P{number}")
        make_call(workspace, number, f"P{number}")
    with django_assert_max_num_queries(36):
        html_of(owner_client)


def test_owners_rest_and_return_a_provider_by_hand(owner_client, analyst_client, anthropic) -> None:
    rest = reverse("providers:rest", args=[anthropic.provider_id])
    back = reverse("providers:return", args=[anthropic.provider_id])
    assert analyst_client.post(rest).status_code == 403
    assert "Return it to use" not in html_of(owner_client)
    html = owner_client.post(rest, follow=True).content.decode()
    assert "Anthropic rests." in html
    assert "Rested by hand" in html
    assert "Return it to use" in html
    assert "Anthropic rests already." in owner_client.post(rest, follow=True).content.decode()
    assert "Anthropic is back in use." in owner_client.post(back, follow=True).content.decode()
    assert "in use already" in owner_client.post(back, follow=True).content.decode()


def test_the_socket_follows_for_those_who_may_see(
    owner, analyst, viewer, outsider, workspace, anthropic
) -> None:
    name = str(workspace.pk)
    check = registry.authorize(f"providers:{name}")
    assert check is not None
    assert [check(one, name) for one in (owner, analyst, viewer, outsider)] == [
        True,
        True,
        False,
        False,
    ]
    assert not check(owner, "²")
    render = registry.renderer(f"providers:{name}")
    assert render is not None
    assert 'id="providers-rows"' in render(analyst, name, frozenset({"health", "route"}))["html"]
    only = render(analyst, name, frozenset({"route"}))
    assert only == {"html": "", "again": ["providers-order"]}


def test_changes_are_told_to_open_pages(owner, analyst, workspace, anthropic) -> None:
    topic = f"providers:{workspace.pk}"
    services.set_enabled(actor=owner, provider=anthropic.provider, enabled=False)
    services.set_route(
        actor=owner, workspace=workspace, purpose="names", strategy="priority", targets=[]
    )
    assert news(topic, 0) == (2, frozenset({"provider", "route"}))
    model = make_provider(workspace, "Demo", kind=ProviderKind.SCRIPTED)
    tasks.try_out(model.provider_id, analyst.pk)
    assert news(topic, 2)[1] == frozenset({"provider"})
