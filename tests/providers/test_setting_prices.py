"""Prices with dates, models without a price, and pricing calls afterwards."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from accounts.models import AuditEvent, User, Workspace
from core.errors import Forbidden, Invalid, NotFound
from providers import services
from providers.models import LlmCall, ModelDeployment, ModelPrice, Provider, ProviderKind
from providers.runner import DatabaseJournal
from providers.selectors.prices import price_of, unpriced
from providers.services.prices import drop_price, reprice, set_price
from tests.providers.books import book, intent
from tests.providers.test_journal import answered, failed, journal

__all__ = ["journal"]

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


@pytest.fixture
def model(workspace: Workspace) -> ModelDeployment:
    provider = Provider.objects.create(
        workspace=workspace,
        name="vLLM",
        kind=ProviderKind.OPENAI,
        base_url="https://models.example.org/v1",
    )
    return ModelDeployment.objects.create(provider=provider, model="odd")


def priced(owner: User, model: ModelDeployment, amount: str, when: datetime) -> ModelPrice:
    return set_price(
        actor=owner,
        deployment=model,
        price_in=Decimal(amount),
        price_out=Decimal(amount) * 2,
        effective_from=when,
    )


def test_the_newest_price_in_force_holds(owner: User, model: ModelDeployment) -> None:
    now = timezone.now()
    assert price_of(model).source == "unknown"
    model.price_in, model.price_out = Decimal(9), Decimal(9)
    model.save()
    assert (price_of(model).source, price_of(model, now - 9 * DAY).source) == ("own", "own")
    for days, amount in ((-10, "1"), (-2, "2"), (5, "3")):
        priced(owner, model, amount, now + days * DAY)
    found = [price_of(model, now + days * DAY) for days in (-11, -10, -3, -2, 0, 6)]
    assert [one.prices.tokens_in for one in found if one.prices] == [9, 1, 1, 2, 2, 3]
    config = services.deployment_config(model)
    assert (config.price_in, config.price_out, config.price_cached) == (2, 4, None)


def test_a_price_of_the_same_moment_is_replaced_and_one_taken_back_is_gone(
    owner: User, model: ModelDeployment
) -> None:
    now = timezone.now() - DAY
    priced(owner, model, "1", now)
    row = priced(owner, model, "2", now)
    assert ModelPrice.objects.get().price_in == 2
    drop_price(actor=owner, price=row)
    assert price_of(model).source == "unknown"
    actions = AuditEvent.objects.order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["price.set", "price.set", "price.dropped"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"price_in": Decimal(-1)},
        {"price_in": Decimal("NaN")},
        {"price_out": Decimal(10**9)},
        {"price_cached": Decimal("Infinity")},
        {"effective_from": datetime(2020, 1, 1)},
        {"effective_from": timezone.now() + timedelta(days=9000)},
    ],
)
def test_what_is_no_price(owner: User, model: ModelDeployment, wrong: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        set_price(**{"actor": owner, "deployment": model, "price_in": Decimal(1), **wrong})
    assert not ModelPrice.objects.exists()


def test_prices_are_the_owners(
    analyst: User, owner: User, other_owner: User, model: ModelDeployment
) -> None:
    row = priced(owner, model, "1", timezone.now())
    for person, error in ((analyst, Forbidden), (other_owner, NotFound)):
        with pytest.raises(error):
            priced(person, model, "1", timezone.now())
        with pytest.raises(error):
            drop_price(actor=person, price=row)
        with pytest.raises(error):
            reprice(actor=person, deployment=model, since=timezone.now())


def unpriced_call(
    journal: DatabaseJournal, model: ModelDeployment, ticket: int, **how: Any
) -> None:
    row = intent(
        ticket=ticket,
        fingerprint=f"{ticket:064x}",
        deployment=str(model.pk),
        model="odd",
        provider="vLLM",
        reserved=None,
        batched=how.pop("batched", False),
    )
    tokens = {"tokens_in": 1_000_000, "tokens_out": 500_000, "tokens_cached": 0, "cost": None}
    journal.write([row, answered(row, **{**tokens, **how})])


def test_calls_without_a_price_are_noticed_then_priced_into_the_books(
    journal: DatabaseJournal, owner: User, workspace: Workspace, model: ModelDeployment
) -> None:
    (silent,) = unpriced(workspace)
    assert silent.text.startswith("The price of odd at vLLM is unknown. Enter one")
    for ticket in (1, 2, 3):
        unpriced_call(journal, model, ticket, batched=ticket == 3)
    unpriced_call(journal, model, 4, cost=7.0)
    LlmCall.objects.filter(ticket=1).update(sent_at=F("sent_at") - 3 * DAY)
    (notice,) = unpriced(workspace)
    assert (notice.calls, notice.known, notice.deployment) == (3, False, model)
    assert "3 calls in the last 31 days have no cost" in notice.text
    now = timezone.now()
    since = now - 9 * DAY
    nothing = reprice(actor=owner, deployment=model, since=since)
    assert (nothing.calls, nothing.left) == (0, 3)
    priced(owner, model, "1", now - 9 * DAY)
    priced(owner, model, "10", now - DAY)
    assert unpriced(workspace)[0].known
    before = book(f"workspace:{workspace.pk}", now.strftime("%Y-%m-%d"))[0]
    done = reprice(actor=owner, deployment=model, since=since)
    # Three days ago 1 + 0.5 × 2, today 10 + 0.5 × 20, and half of that in a batch.
    assert (done.calls, done.cost, done.left) == (3, Decimal(32), 0)
    costs = LlmCall.objects.order_by("ticket").values_list("cost", flat=True)
    assert list(costs) == [2, 20, 10, 7]
    assert before == 7
    assert book(f"workspace:{workspace.pk}", now.strftime("%Y-%m-%d"))[0] == 37
    assert book()[0] == 39
    assert book(f"workspace:{workspace.pk}", (now - 3 * DAY).strftime("%Y-%m-%d"))[0] == 2
    assert reprice(actor=owner, deployment=model, since=since).calls == 0
    assert unpriced(workspace) == []


def test_only_answered_calls_of_the_model_since_then_are_priced(
    journal: DatabaseJournal, owner: User, model: ModelDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("providers.services.prices.GROUP", 2)
    other = ModelDeployment.objects.create(provider=model.provider, model="other")
    for ticket in range(1, 6):
        unpriced_call(journal, model, ticket)
    unpriced_call(journal, other, 6)
    row = intent(ticket=7, fingerprint="7" * 64, deployment=str(model.pk), reserved=None)
    journal.write([row, failed(row, in_doubt=True)])
    LlmCall.objects.filter(ticket=1).update(sent_at=F("sent_at") - 30 * DAY)
    priced(owner, model, "1", timezone.now() - 60 * DAY)
    done = reprice(actor=owner, deployment=model, since=timezone.now() - DAY)
    assert (done.calls, done.cost) == (4, Decimal(8))
    assert set(LlmCall.objects.exclude(cost=None).values_list("ticket", flat=True)) == {2, 3, 4, 5}


def test_an_analysis_is_counted_anew(
    journal: DatabaseJournal, owner: User, model: ModelDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    monkeypatch.setattr("analyses.services.spending.recount", counted.append)
    unpriced_call(journal, model, 1)
    priced(owner, model, "1", timezone.now() - DAY)
    reprice(actor=owner, deployment=model, since=timezone.now() - DAY)
    assert counted == [9]


def test_a_changed_price_of_a_model_with_dates_gets_its_own(
    owner: User, workspace: Workspace
) -> None:
    """Saved with the provider: else the dated one would go on to hold."""
    given = {"name": "P", "base_url": "https://models.example.org/v1", "chat_model": "m"}

    def save(price: str, provider: Provider | None = None) -> Provider:
        more = {"price_in": Decimal(price), "price_out": Decimal(price)}
        return services.save_provider(
            actor=owner,
            workspace=workspace,
            given=services.ProviderInput(**given, **more),
            provider=provider,
        )

    provider = save("1")
    deployment = provider.deployments.get()
    priced(owner, deployment, "2", timezone.now() - DAY)
    save("1", provider)
    assert services.deployment_config(provider.deployments.get()).price_in == 2
    save("5", provider)
    assert services.deployment_config(provider.deployments.get()).price_in == 5
