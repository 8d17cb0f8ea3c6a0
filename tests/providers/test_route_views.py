"""The order of use on the page: every step by a form, a preview, and who may."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.urls import reverse
from django.utils import timezone

from providers.models import (
    BreakerState,
    DeploymentHealth,
    LlmCall,
    ModelDeployment,
    ModelPrice,
    Provider,
    ProviderKind,
)
from providers.selectors.order import order_of_use
from providers.selectors.routes import effective_route, route_plan
from providers.services.routes import set_route

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


@pytest.fixture
def models(workspace) -> list[ModelDeployment]:
    """Three providers with a chat model each, in the order they were added."""
    found = []
    for name in ("Anthropic", "OpenAI", "vLLM"):
        row = Provider.objects.create(workspace=workspace, name=name, kind=ProviderKind.OPENAI)
        found.append(ModelDeployment.objects.create(provider=row, model=f"{name.lower()}-chat"))
    return found


def step(client, purpose: str = "facets", **form: object):
    url = reverse("providers:route-change", args=[purpose])
    return client.post(url, form, headers=HTMX)


def names(workspace, purpose: str = "facets") -> list[str]:
    return [model.provider.name for model in effective_route(workspace, purpose)]


def rest(model: ModelDeployment, state: str = BreakerState.OPEN, **values: object) -> None:
    given = {"reason": "timeout", "retry_at": timezone.now() + timedelta(minutes=2), **values}
    DeploymentHealth.objects.create(deployment=model, state=state, **given)


def test_moves_up_and_down_and_stays_at_the_ends(owner_client, workspace, models) -> None:
    assert "The order is saved." in step(owner_client, move=f"{models[2].pk}:up").content.decode()
    assert names(workspace) == ["Anthropic", "vLLM", "OpenAI"]
    step(owner_client, move=f"{models[0].pk}:down")
    assert names(workspace) == ["vLLM", "Anthropic", "OpenAI"]
    step(owner_client, move=f"{models[2].pk}:up")
    step(owner_client, move="999:up")
    assert names(workspace) == ["vLLM", "Anthropic", "OpenAI"]


def test_a_whole_order_at_once_and_one_it_does_not_name_stays_last(
    owner_client, workspace, models
) -> None:
    step(owner_client, order=f"{models[2].pk},{models[0].pk}")
    assert names(workspace) == ["vLLM", "Anthropic", "OpenAI"]


def test_takes_out_adds_and_goes_back_to_every_model(owner_client, workspace, models) -> None:
    step(owner_client, remove=models[0].pk)
    assert names(workspace) == ["OpenAI", "vLLM"]
    step(owner_client, add=models[0].pk)
    assert names(workspace) == ["OpenAI", "vLLM", "Anthropic"]
    step(owner_client, restore="1")
    assert not route_plan(workspace, "facets").chosen
    step(owner_client, remove=models[0].pk)
    step(owner_client, remove=models[1].pk)
    step(owner_client, remove=models[2].pk)
    assert names(workspace) == ["vLLM"]  # the last one stays


def test_a_strategy_alone_does_not_freeze_the_list(owner_client, workspace, models) -> None:
    step(owner_client, strategy="cheapest")
    plan = route_plan(workspace, "facets")
    assert (plan.strategy, plan.chosen) == ("cheapest", False)


def test_weights_show_as_parts_of_the_work(owner_client, workspace, models) -> None:
    step(owner_client, strategy="weighted")
    weights = {
        f"weight-{model.pk}": weight for model, weight in zip(models, (6, 3, 1), strict=True)
    }
    html = step(owner_client, **weights).content.decode()
    assert "takes 60% of the work now" in html
    assert 'value="6"' in html
    html = step(owner_client, **{**weights, f"weight-{models[0].pk}": 0}).content.decode()
    assert "tone-bad" in html
    assert [target.weight for target in route_plan(workspace, "facets").targets] == [6, 3, 1]


def test_stored_answers_of_a_purpose(owner_client, workspace, models) -> None:
    step(owner_client, cache="1", cache_days="7", semantic="shadow")
    plan = route_plan(workspace, "facets")
    assert (plan.cache_days, plan.semantic) == (7, "shadow")
    step(owner_client, strategy="priority")
    assert route_plan(workspace, "facets").cache_days == 7
    step(owner_client, cache="1", cache_days="", semantic="off")
    assert route_plan(workspace, "facets").cache_days is None
    assert "Enter 1 to 3,650 days" in step(owner_client, cache="1", cache_days="0").content.decode()


def test_without_scripts_it_goes_back_to_the_page(owner_client, workspace, models) -> None:
    url = reverse("providers:route-change", args=["facets"])
    answer = owner_client.post(url, {"move": f"{models[1].pk}:up"}, follow=True)
    assert answer.redirect_chain == [("/providers/?purpose=facets#providers-order", 302)]
    assert "The order is saved." in answer.content.decode()
    assert names(workspace)[0] == "OpenAI"


def test_only_owners_change_and_strangers_learn_nothing(
    analyst_client, other_owner_client, owner_client, workspace, models
) -> None:
    assert step(analyst_client, move=f"{models[1].pk}:up").status_code == 403
    html = analyst_client.get(
        reverse("providers:route", args=["facets"]), headers=HTMX
    ).content.decode()
    assert "Anthropic" in html
    assert "Move Anthropic" not in html
    html = other_owner_client.get(
        reverse("providers:route", args=["facets"]), headers=HTMX
    ).content.decode()
    assert "Anthropic" not in html
    step(other_owner_client, add=models[0].pk)
    assert names(workspace) == ["Anthropic", "OpenAI", "vLLM"]
    assert owner_client.get(reverse("providers:route", args=["poems"])).status_code == 404


def test_each_model_says_what_it_does_now(owner, workspace, models) -> None:
    rest(models[0])
    rest(models[1], BreakerState.RESTED, reason="by hand", retry_at=None)
    first, second, third = order_of_use(workspace, "facets").rows
    assert (first.state, first.word) == ("resting", "Resting")
    assert "did not answer in time, tried again at" in first.text
    assert second.word == "Rested by hand"
    assert (third.word, third.text) == ("In use", "takes all work now")
    DeploymentHealth.objects.filter(deployment=models[0]).update(retry_at=timezone.now())
    assert order_of_use(workspace, "facets").rows[0].text == "tried with the next call"
    Provider.objects.filter(pk=models[2].provider_id).update(enabled=False)
    set_route(
        actor=owner,
        workspace=workspace,
        purpose="facets",
        strategy="priority",
        targets=[(models[2], 1), (models[0], 1)],
    )
    assert order_of_use(workspace, "facets").rows[0].text == "switched off"


def test_what_happens_if_one_fails(owner_client, workspace, models) -> None:
    ModelDeployment.objects.filter(pk=models[0].pk).update(
        price_in=Decimal("1"), price_out=Decimal("5"), supports_schema=True, context_tokens=200_000
    )
    ModelDeployment.objects.filter(pk=models[1].pk).update(
        price_in=Decimal("2"), price_out=Decimal("10"), supports_schema=False, context_tokens=8_000
    )
    LlmCall.objects.create(
        workspace=workspace,
        fingerprint="f" * 64,
        purpose="facets",
        provider="Anthropic",
        model="m",
        state="ok",
        tokens_in=2000,
        tokens_out=100,
        sent_at=timezone.now(),
    )
    preview = order_of_use(workspace, "facets", models[0].pk).preview
    assert preview is not None
    assert preview.takes == models[1]
    assert preview.lost[0] == "answers in a fixed form (JSON schema)"
    assert preview.lost[1].startswith("room: 8,000 tokens")
    assert preview.cost == (
        "1,000 calls cost $2.50 more: $5.00 instead of $2.50, at the tokens your calls take."
    )
    assert preview.then.startswith("After that: vLLM · vllm-chat.")
    url = reverse("providers:route", args=["facets"])
    html = owner_client.get(url, {"fails": models[0].pk}, headers=HTMX).content.decode()
    assert "takes the work with the next call" in html
    third = order_of_use(workspace, "facets", models[2].pk).preview
    assert third is not None
    assert third.takes == models[0]


def test_what_happens_if_the_last_one_fails_or_has_no_price(workspace, models) -> None:
    preview = order_of_use(workspace, "facets", models[0].pk).preview
    assert preview is not None
    assert preview.cost == "The change in cost is unknown: OpenAI · openai-chat has no price."
    rest(models[1])
    rest(models[2])
    preview = order_of_use(workspace, "facets", models[0].pk).preview
    assert preview is not None
    assert preview.waits
    assert "the local engine on this machine" in preview.then
    assert order_of_use(workspace, "facets", 12345).preview is None


def test_a_dated_price_counts_for_what_a_switch_costs(workspace, models) -> None:
    for model, price in ((models[0], 1), (models[1], 2)):
        ModelPrice.objects.create(
            deployment=model, price_in=price, price_out=price, effective_from=timezone.now()
        )
    preview = order_of_use(workspace, "facets", models[0].pk).preview
    assert preview is not None
    assert preview.takes == models[1]
    assert preview.cost.startswith("1,000 calls cost $1.75 more: $3.50 instead of $1.75")


def test_the_card_costs_few_queries(workspace, models, django_assert_max_num_queries) -> None:
    for number in range(10):
        row = Provider.objects.create(
            workspace=workspace, name=f"P{number}", kind=ProviderKind.OPENAI
        )
        ModelDeployment.objects.create(provider=row, model="m")
    with django_assert_max_num_queries(7):
        order_of_use(workspace, "facets", models[0].pk)
