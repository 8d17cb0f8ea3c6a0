"""Estimates before the start, and what a budget buys."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from analyses.models import AnalysisSession
from analyses.pipeline.facets import FacetsParams, facets_request
from analyses.pipeline.forecast.loads import request_tokens
from analyses.pipeline.prepare import PrepareParams, prepare_one
from analyses.selectors import estimating, plans, starting
from analyses.selectors.asked import facets_of, source_of
from analyses.selectors.estimates import Cost, Estimate, round_up, stored
from analyses.selectors.estimating import Question, estimates_of, local_estimate
from projects.models import Conversation, Dataset, Project
from providers.models import (
    CallState,
    LlmCall,
    ModelDeployment,
    ModelPrice,
    Provider,
    ProviderKind,
)
from templates_app.models import TemplateVersion

Queries = Callable[[int], Any]


@pytest.fixture
def model(dataset: Dataset) -> ModelDeployment:
    provider = Provider.objects.create(
        workspace=dataset.project.workspace, name="Acme", kind=ProviderKind.OPENAI, concurrency=4
    )
    return ModelDeployment.objects.create(
        provider=provider, model="small", price_in=Decimal("1"), price_out=Decimal("2")
    )


def estimate(
    dataset: Dataset, version: TemplateVersion, model: ModelDeployment, **changes: Any
) -> Estimate:
    return estimates_of(Question(dataset, version, **changes), [model])[model.pk]


def test_all_rendered_is_exact(
    dataset: Dataset, version: TemplateVersion, model: ModelDeployment
) -> None:
    """Twelve of twelve conversations are rendered, so nothing is left to chance in reading."""
    found = estimate(dataset, version, model)
    assert found.sampled == 12
    params = FacetsParams(
        facets=facets_of(version),
        output_language=dataset.project.language,
        instructions=version.instructions,
    )
    asked = sum(
        request_tokens(facets_request(prepare_one(source_of(row), PrepareParams()), params))
        for row in Conversation.objects.filter(dataset=dataset)
    )
    reading = found.stages[0]
    assert (reading.key, reading.calls.likely) == ("facets", 12)
    assert reading.tokens_in.low == pytest.approx(asked)
    assert reading.tokens_in.likely == pytest.approx(asked)
    assert reading.tokens_in.high == pytest.approx(asked * 1.03), "retries"


def test_cost_follows_from_tokens_and_prices(
    dataset: Dataset, version: TemplateVersion, model: ModelDeployment
) -> None:
    found = estimate(dataset, version, model)
    for stage in found.stages:
        assert stage.cost is not None
        expected = (round(stage.tokens_in.likely) + 2 * round(stage.tokens_out.likely)) / 1e6
        assert float(stage.cost.likely) == pytest.approx(expected)
        assert stage.cost.low <= stage.cost.likely <= stage.cost.high
    spend = found.spend
    assert spend is not None
    assert spend.likely == sum(stage.cost.likely for stage in found.stages if stage.cost)
    assert found.suggested_limit is not None
    assert found.suggested_limit >= spend.high


def test_unpriced_is_said_and_the_local_engine_is_free(
    dataset: Dataset, version: TemplateVersion, model: ModelDeployment
) -> None:
    model.price_in = model.price_out = None
    found = estimate(dataset, version, model)
    assert (found.spend, found.cost, found.suggested_limit) == (None, "unpriced", None)
    local = local_estimate(12)
    assert (local.cost, local.suggested_limit, local.stages) == ("costs nothing", None, ())


def test_unpriced_vectors_leave_the_total_open(
    dataset: Dataset, version: TemplateVersion, model: ModelDeployment
) -> None:
    vectors = ModelDeployment.objects.create(provider=model.provider, model="v", embeds=True)
    found = estimates_of(Question(dataset, version), [model], vectors)[model.pk]
    assert [stage.key for stage in found.stages if stage.cost is None] == ["embeddings"]
    assert found.cost == "unpriced"
    assert [stage.key for stage in estimate(dataset, version, model).stages].count(
        "embeddings"
    ) == 0, "vectors made here ask nobody"


def test_a_part_costs_less_and_large_sets_are_sampled(
    project: Project, make_dataset: Any, version: TemplateVersion, model: ModelDeployment
) -> None:
    large = make_dataset(project, size=400, name="Large")
    whole = estimate(large, version, model)
    half = estimate(large, version, model, limit=200)
    assert (whole.sampled, half.sampled) == (50, 50)
    assert whole.spend is not None
    assert half.spend is not None
    assert half.spend.likely < whole.spend.likely
    assert half.seconds.high < whole.seconds.high
    reading = whole.stages[0]
    assert reading.calls.likely == 400
    assert reading.tokens_in.low <= reading.tokens_in.likely <= reading.tokens_in.high


def test_spread_reaches_both_ends() -> None:
    positions = estimating.spread(100_000, 50)
    assert len(positions) == 50
    assert (positions[0], positions[-1]) == (1_000, 99_000)
    assert estimating.spread(3, 50) == [0, 1, 2]


def test_a_dated_price_is_what_it_will_cost(
    dataset: Dataset, version: TemplateVersion, model: ModelDeployment
) -> None:
    before = estimate(dataset, version, model).spend
    ModelPrice.objects.create(
        deployment=model, price_in=2, price_out=4, effective_from=timezone.now()
    )
    after = estimate(dataset, version, model).spend
    assert before
    assert after
    assert after.likely == 2 * before.likely


def test_few_queries_and_few_texts(
    dataset: Dataset,
    version: TemplateVersion,
    model: ModelDeployment,
    django_assert_num_queries: Queries,
) -> None:
    Dataset.objects.filter(pk=dataset.pk).update(conversation_count=100_000)
    dataset = Dataset.objects.select_related("project").get(pk=dataset.pk)
    with django_assert_num_queries(5) as seen:  # facets, position, conversations, sessions, prices
        estimate(dataset, version, model)
    assert sum("messages" in query["sql"] for query in seen.captured_queries) == 1


def test_history_sets_the_length_of_answers_and_the_delay(
    dataset: Dataset,
    version: TemplateVersion,
    model: ModelDeployment,
    start: Callable[..., AnalysisSession],
) -> None:
    before = estimate(dataset, version, model)
    earlier = start(chat=model, wake=False)
    for number in range(20):
        LlmCall.objects.create(
            workspace=dataset.project.workspace, analysis_id=earlier.pk,
            fingerprint=str(number), purpose="facets", provider="Acme", model="small-2026",
            state=CallState.OK, sent_at=timezone.now(),
            tokens_in=2 * round(before.stages[0].tokens_in.likely / 12),
            tokens_out=300, latency_ms=4_000,
        )  # fmt: skip
    after = estimate(dataset, version, model)
    assert after.stages[0].tokens_out.likely == pytest.approx(12 * 300)
    assert after.scale == pytest.approx(2, rel=0.01), "it counts twice our tokens"
    assert after.stages[0].tokens_in.likely == pytest.approx(
        2 * before.stages[0].tokens_in.likely, rel=0.01
    )
    assert after.seconds.low > before.seconds.low
    assert "20 that this model gave" in " ".join(after.notes)


def test_stored_at_the_start_and_read_back(
    start: Callable[..., AnalysisSession], model: ModelDeployment
) -> None:
    session = start(chat=model, wake=False)
    found = stored(AnalysisSession.objects.get(pk=session.pk))
    assert found is not None
    assert found.spend is not None
    assert found.to_json() == session.estimate == json.loads(json.dumps(session.estimate))
    assert Estimate.from_json({}) is None
    assert Estimate.from_json({"stages": [{"key": "facets"}], "seconds": []}) is None


def test_an_estimate_that_fails_stops_no_start(
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise ValueError("a damaged vocabulary")

    monkeypatch.setattr("analyses.services.estimating.estimates_of", broken)
    assert start(chat=model, wake=False).estimate == {}


@pytest.mark.parametrize(
    ("amount", "limit"),
    [("0.003", "0.01"), ("0.037", "0.04"), ("3.12", "3.50"), ("9.51", "10.00"), ("41.3", "45.00")],
)
def test_limits_are_round_sums(amount: str, limit: str) -> None:
    assert round_up(Decimal(amount)) == Decimal(limit)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        ("0", "0", "costs nothing"),
        ("0.001", "0.004", "under $0.01"),
        ("0.004", "0.02", "under $0.01 to $0.02"),
        ("1.001", "1.004", "about $1.00"),
        ("1", "2.5", "$1.00 to $2.50"),
    ],
)
def test_costs_in_words(low: str, high: str, words: str) -> None:
    assert Cost(Decimal(low), Decimal(low), Decimal(high)).text == words


# --- A budget -----------------------------------------------------------------------------------


@pytest.fixture
def large(project: Project, make_dataset: Any) -> Dataset:
    found: Dataset = make_dataset(project, size=400, name="Large")
    return found


def test_money_for_all_reads_all(
    large: Dataset, version: TemplateVersion, model: ModelDeployment
) -> None:
    dear = ModelDeployment.objects.create(
        provider=model.provider, model="large", price_in=Decimal("5"), price_out=Decimal("20")
    )
    found = plans.plans_for(Question(large, version), [model, dear], None, Decimal("100"))
    assert [(plan.model, plan.limit) for plan in found.plans] == [
        (dear, None), (model, None), (None, None),
    ]  # fmt: skip
    assert not found.smallest


def test_less_money_reads_a_spread_sample(
    large: Dataset, version: TemplateVersion, model: ModelDeployment
) -> None:
    whole = estimate(large, version, model).spend
    assert whole is not None
    budget = whole.high / 2
    plan = plans.plans_for(Question(large, version), [model], None, budget).plans[0]
    assert plan.model == model
    assert plan.limit is not None
    assert 120 <= plan.limit < 250
    assert plan.estimate.spend is not None
    assert budget * Decimal("0.8") <= plan.estimate.spend.high <= budget
    assert "comes out between" in plan.margin


def test_too_little_money_says_what_the_smallest_costs(
    large: Dataset, version: TemplateVersion, model: ModelDeployment
) -> None:
    found = plans.plans_for(Question(large, version), [model], None, Decimal("0.0001"))
    assert [plan.model for plan in found.plans] == [None], "the local engine always fits"
    assert "50 conversations with Acme · small" in found.smallest


def test_wilson_as_published() -> None:
    """Newcombe 1998, table 1: 15 of 148 gives 0.0624 to 0.1605."""
    low, high = plans.wilson(15 / 148, 148)
    assert (round(low, 4), round(high, 4)) == (0.0624, 0.1605)


# --- The page -----------------------------------------------------------------------------------


def test_looking_again_starts_nothing(
    analyst_client: Client, large: Dataset, version: TemplateVersion, model: ModelDeployment
) -> None:
    address = reverse("analyses:new", args=[large.project.slug])
    data = {"dataset": large.pk, "version": version.pk, "reader": model.pk, "limit": "100",
            "sample": "spread", "budget": "1", "look": "1"}  # fmt: skip
    page = analyst_client.post(address, data)
    offer = page.context["offer"]
    assert offer.chosen.estimate.conversations == 100
    assert offer.plans is not None
    assert page.context["form"]["spend_limit"].value() == offer.suggested
    fragment = analyst_client.post(address, data, headers={"HX-Request": "true"})
    assert fragment.content.startswith(b'<form method="post"')
    assert not AnalysisSession.objects.exists()


def test_a_typed_limit_is_kept_while_looking(
    analyst_client: Client, large: Dataset, model: ModelDeployment
) -> None:
    address = reverse("analyses:new", args=[large.project.slug])
    data = {"dataset": large.pk, "reader": model.pk, "look": "1", "suggested": "0.50"}
    kept = analyst_client.post(address, {**data, "spend_limit": "7.00"})
    assert str(kept.context["form"]["spend_limit"].value()) == "7.00"
    empty = analyst_client.post(address, {**data, "spend_limit": ""})
    assert not empty.context["form"]["spend_limit"].value(), "no limit was wished for"


def test_a_plan_fills_the_form_and_starts_a_spread_sample(
    analyst_client: Client, large: Dataset, version: TemplateVersion, model: ModelDeployment
) -> None:
    address = reverse("analyses:new", args=[large.project.slug])
    data = {"dataset": large.pk, "version": version.pk, "reader": "", "budget": "3.00"}
    page = analyst_client.post(address, {**data, "use": f"{model.pk}:60"})
    form = page.context["form"]
    assert page.context["offer"].chosen.value == str(model.pk)
    chosen = {name: form[name].value() for name in ("limit", "sample", "spend_limit")}
    assert chosen == {"limit": 60, "sample": "spread", "spend_limit": Decimal("3.00")}
    analyst_client.post(address, {**data, "reader": model.pk, **chosen})
    session = AnalysisSession.objects.get()
    assert (session.total, session.params["spread_over"]) == (60, 400)


def test_fallback_and_limit_reach_the_service(
    analyst_client: Client, dataset: Dataset, version: TemplateVersion, model: ModelDeployment
) -> None:
    other = ModelDeployment.objects.create(provider=model.provider, model="other")
    address = reverse("analyses:new", args=[dataset.project.slug])
    data = {"dataset": dataset.pk, "version": version.pk, "reader": model.pk}
    same = analyst_client.post(address, {**data, "fallback": model.pk})
    assert same.status_code == 422, "it cannot stand in for itself"
    analyst_client.post(address, {**data, "fallback": other.pk, "spend_limit": "2.50"})
    session = AnalysisSession.objects.get()
    assert (session.chat, session.fallback) == (model, other)


def test_options_name_each_stage(
    dataset: Dataset, version: TemplateVersion, model: ModelDeployment
) -> None:
    options = starting.options_for(dataset.project, Question(dataset, version))
    names = [option.name for option in options]
    assert names == ["In the workspace's order", "Local engine", "Acme"]
    for option in (options[0], options[2]):
        assert option.estimate is not None
        assert [stage.label for stage in option.estimate.stages] == [
            "Read and extract", "Name", "Arrange", "Privacy",
        ]  # fmt: skip


def test_a_limit_is_proposed_once_a_model_is_chosen(
    analyst_client: Client, dataset: Dataset, version: TemplateVersion, model: ModelDeployment
) -> None:
    """The local engine has no such field, so nothing was typed into it."""
    address = reverse("analyses:new", args=[dataset.project.slug])
    data = {
        "dataset": dataset.pk,
        "version": version.pk,
        "reader": model.pk,
        "look": "1",
        "suggested": "",
    }
    page = analyst_client.post(address, data)
    assert page.context["form"]["spend_limit"].value() == page.context["offer"].suggested
    assert page.context["offer"].suggested is not None
