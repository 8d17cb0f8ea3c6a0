"""Routes: who answers what, in which order, and who may say so."""

from __future__ import annotations

import pytest

from accounts.models import AuditEvent
from core.errors import Forbidden, Invalid
from providers import keys
from providers.models import ModelDeployment, Provider, ProviderKind, Purpose
from providers.selectors.routes import effective_route, route_plan, route_plans
from providers.services.routes import route_config, set_route

pytestmark = pytest.mark.django_db


@pytest.fixture
def models(workspace) -> dict[str, ModelDeployment]:
    """Two providers with a chat model each; the first also embeds."""
    found = {}
    for name in ("one", "two"):
        row = Provider.objects.create(workspace=workspace, name=name, kind=ProviderKind.SCRIPTED)
        found[name] = ModelDeployment.objects.create(provider=row, model=f"{name}-chat")
    found["vectors"] = ModelDeployment.objects.create(
        provider=found["one"].provider, model="one-embed", embeds=True
    )
    return found


def choose(owner, workspace, *targets: tuple[ModelDeployment, int], **given):
    given = {"purpose": "facets", "strategy": "priority", **given}
    return set_route(actor=owner, workspace=workspace, targets=list(targets), **given)


def test_every_model_that_is_on_in_the_order_added(workspace, models) -> None:
    assert effective_route(workspace, "facets") == [models["one"], models["two"]]
    assert effective_route(workspace, "embeddings") == [models["vectors"]]
    Provider.objects.filter(name="one").update(enabled=False)
    assert effective_route(workspace, "names") == [models["two"]]
    assert effective_route(workspace, "embeddings") == []


def test_the_owners_order_holds_for_its_purpose_alone(owner, workspace, models) -> None:
    choose(owner, workspace, (models["two"], 1), (models["one"], 1))
    assert effective_route(workspace, "facets") == [models["two"], models["one"]]
    assert effective_route(workspace, "names") == [models["one"], models["two"]]
    assert route_plans(workspace)["facets"].chosen
    assert not route_plans(workspace)["names"].chosen


def test_a_chosen_model_that_is_off_is_not_replaced(owner, workspace, models) -> None:
    choose(owner, workspace, (models["two"], 1))
    Provider.objects.filter(name="two").update(enabled=False)
    assert effective_route(workspace, "facets") == []
    plan = route_plan(workspace, "facets")
    assert [target.usable for target in plan.targets] == [False]


def test_setting_again_replaces_and_nothing_goes_back_to_all(owner, workspace, models) -> None:
    choose(owner, workspace, (models["two"], 1), (models["one"], 1))
    choose(owner, workspace, (models["one"], 1))
    assert effective_route(workspace, "facets") == [models["one"]]
    choose(owner, workspace, strategy="cheapest")
    assert effective_route(workspace, "facets") == [models["one"], models["two"]]
    assert route_plan(workspace, "facets").strategy == "cheapest"


def test_the_gateway_gets_strategy_weights_and_ages(owner, workspace, models) -> None:
    choose(
        owner,
        workspace,
        (models["two"], 3),
        (models["one"], 1),
        strategy="weighted",
        semantic="shadow",
        cache_days=7,
    )
    route = route_config(workspace, "facets")
    assert [target.model for target in route.targets] == ["two-chat", "one-chat"]
    assert (route.strategy, route.weights, route.semantic) == ("weighted", (3, 1), "shadow")
    assert route.max_age == 7 * 24 * 3600
    assert not route.interactive
    assert route_config(workspace, "ask").interactive


def test_an_unreadable_key_costs_the_route_one_target_only(
    owner, workspace, models, monkeypatch
) -> None:
    real = keys.decrypt

    def decrypt(text, secrets):
        if text == "lost":
            raise keys.KeyUnreadable
        return real(text, secrets)

    monkeypatch.setattr(keys, "decrypt", decrypt)
    Provider.objects.filter(name="one").update(key_encrypted="lost")
    assert [target.model for target in route_config(workspace, "facets").targets] == ["two-chat"]
    choose(owner, workspace, (models["one"], 1))
    with pytest.raises(Invalid):
        route_config(workspace, "facets")


def test_only_owners_and_it_is_written_down(owner, analyst, workspace, models) -> None:
    with pytest.raises(Forbidden):
        choose(analyst, workspace, (models["one"], 1))
    choose(owner, workspace, (models["one"], 1))
    event = AuditEvent.objects.get(action="route.changed")
    assert event.data["purpose"] == "facets"
    assert event.data["models"] == ["one · one-chat"]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"purpose": "poems"}, "purpose"),
        ({"strategy": "luck"}, "strategy"),
        ({"semantic": "maybe"}, "semantic"),
        ({"cache_days": 0}, "cache_days"),
        ({"cache_days": 4000}, "cache_days"),
    ],
)
def test_says_which_value_is_wrong(owner, workspace, given, field) -> None:
    with pytest.raises(Invalid) as error:
        choose(owner, workspace, **given)
    assert field in error.value.fields


def test_models_must_fit(owner, workspace, other_workspace, models) -> None:
    strange = ModelDeployment.objects.create(
        provider=Provider.objects.create(
            workspace=other_workspace, name="one", kind=ProviderKind.SCRIPTED
        ),
        model="theirs",
    )
    twice = [(models["one"], 1), (models["one"], 2)]
    for targets in ([(models["vectors"], 1)], [(strange, 1)], twice, [(models["one"], 0)]):
        with pytest.raises(Invalid) as error:
            choose(owner, workspace, *targets)
        assert "targets" in error.value.fields
    with pytest.raises(Invalid):
        choose(owner, workspace, purpose=Purpose.EMBEDDINGS, semantic="on")


def test_reading_plans_costs_few_queries(
    owner, workspace, models, django_assert_max_num_queries
) -> None:
    choose(owner, workspace, (models["two"], 1), (models["one"], 1))
    with django_assert_max_num_queries(2):
        effective_route(workspace, "facets")
    with django_assert_max_num_queries(4):
        route_plans(workspace)
