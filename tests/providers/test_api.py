"""The JSON door of providers: what pages do, programs do; and no secret ever comes out."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User, Workspace
from providers.models import LlmCall, ModelDeployment, Provider, Route, UseLimit
from tests.providers.pages import KEY, NEXT, PROXY, VALUE, every_page

pytestmark = pytest.mark.django_db
API = "/api/v1/providers"
GIVEN: dict[str, Any] = {
    "name": "vLLM",
    "preset": "compatible",
    "base_url": "https://models.example.org/v1/",
    "key": KEY,
    "proxy": PROXY,
    "headers": {"X-Tenant": VALUE},
    "models": [
        {"model": "qwen", "price_in": "0.15", "price_out": "0.60"},
        {"model": "bge", "embeds": True, "dimensions": 1024},
    ],
}


def send(client: Client, method: str, url: str, body: Any = None, **more: Any) -> Any:
    data = b"" if body is None else json.dumps(body)
    return client.generic(method, url, data, content_type="application/json", **more)


@pytest.fixture
def provider(owner_client: Client) -> Provider:
    assert send(owner_client, "POST", API, GIVEN).status_code == 201
    return Provider.objects.get()


def one(provider: Provider) -> str:
    return f"{API}/{provider.uid}"


def test_adding_reading_and_changing(owner_client: Client, provider: Provider) -> None:
    shown = owner_client.get(one(provider)).json()
    assert shown["base_url"] == "https://models.example.org/v1"
    assert shown["key"] == {"stored": True, "ending": KEY[-4:]}
    assert (shown["proxy"], shown["headers"]) == (True, ["X-Tenant"])
    assert {row["model"]: row["price"] for row in shown["models"]} == {
        "qwen": "$0.15 in, $0.60 out",
        "bge": "unpriced",
    }
    answer = send(owner_client, "PATCH", one(provider), {"concurrency": 3, "name": "GPU"})
    assert answer.status_code == 200
    provider.refresh_from_db()
    assert (provider.concurrency, provider.name, provider.key_hint) == (3, "GPU", KEY[-4:])
    chat = provider.deployments.get(model="qwen")
    assert (chat.price_in, chat.retired) == (Decimal("0.15"), False)
    assert provider.deployments.get(model="bge").dimensions == 1024


def test_a_stored_key_does_not_follow_a_new_address(
    owner_client: Client, provider: Provider
) -> None:
    answer = send(owner_client, "PATCH", one(provider), {"base_url": "https://evil.example/v1"})
    assert answer.status_code == 422
    assert "key" in answer.json()["fields"]
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_the_same_call_adds_once(owner_client: Client, workspace: Workspace) -> None:
    first, again = (
        send(owner_client, "POST", API, GIVEN, headers={"Idempotency-Key": "k1"}).json()
        for _ in range(2)
    )
    assert first["id"] == again["id"]
    assert Provider.objects.count() == 1
    other = send(owner_client, "POST", API, GIVEN, headers={"Idempotency-Key": "k2"})
    assert other.status_code == 422
    assert "name" in other.json()["fields"]


def test_azure_needs_its_resource(owner_client: Client) -> None:
    body = {"name": "A", "preset": "azure", "key": KEY, "models": [{"model": "gpt"}]}
    assert send(owner_client, "POST", API, body).status_code == 422
    made = send(owner_client, "POST", API, {**body, "blanks": {"resource": "north"}})
    assert made.json()["base_url"] == "https://north.openai.azure.com/openai/v1"


def test_no_answer_holds_a_secret(
    owner_client: Client, analyst_client: Client, provider: Provider
) -> None:
    """Every answer of the doors, refusals included, and every page."""
    model = provider.deployments.get(model="qwen").pk
    asked = [
        ("GET", API, None),
        ("GET", one(provider), None),
        ("GET", one(provider) + "/models", None),
        ("PUT", one(provider) + "/key", {"key": NEXT, "keep_old": True}),
        ("PUT", one(provider) + "/key", {"key": KEY * 100, "keep_old": True}),
        ("PATCH", one(provider), {"proxy": PROXY + "/path", "key": NEXT}),
        ("PATCH", one(provider), {"headers": {"Host": VALUE}}),
        ("PATCH", one(provider), {"name": "", "key": NEXT}),
        ("POST", API, GIVEN),
        ("POST", API, {**GIVEN, "concurrency": 0}),
        ("POST", API + "/models", {**GIVEN, "base_url": "http://169.254.169.254/v1"}),
        ("POST", f"{one(provider)}/models/{model}/rest", {}),
        ("GET", "/api/v1/routes", None),
        ("GET", "/api/v1/answers", None),
        ("DELETE", one(provider) + "/key/spare", None),
    ]
    said = [send(owner_client, *row).content.decode() for row in asked]
    said += every_page(owner_client, provider) + every_page(analyst_client, provider)
    provider.refresh_from_db()
    stored = [provider.key_encrypted, provider.proxy_encrypted, *provider.extra_headers.values()]
    for text in said:
        for secret in (KEY, NEXT, PROXY, VALUE, *filter(None, stored)):
            assert secret not in text


def test_keys_are_replaced_and_the_old_one_removed(
    owner_client: Client, provider: Provider
) -> None:
    shown = send(owner_client, "PUT", one(provider) + "/key", {"key": NEXT}).json()
    assert (shown["key"]["ending"], shown["spare_key"]["ending"]) == (NEXT[-4:], KEY[-4:])
    shown = send(owner_client, "DELETE", one(provider) + "/key/spare").json()
    assert shown["spare_key"] == {"stored": False, "ending": ""}
    assert send(owner_client, "DELETE", one(provider) + "/key/spare").status_code == 409


def test_rest_and_return_show_in_page_and_answer(owner_client: Client, provider: Provider) -> None:
    row = provider.deployments.get(model="qwen")
    url = f"{one(provider)}/models/{row.pk}"
    assert send(owner_client, "POST", url + "/rest", {}).json()["state"] == "resting"
    page = owner_client.get(reverse("providers:detail", args=[provider.pk])).content.decode()
    assert "Return to use" in page
    assert send(owner_client, "POST", url + "/rest", {}).status_code == 409
    assert send(owner_client, "POST", url + "/return").json()["state"] != "resting"


def test_prices_and_pricing_what_was_called_before(
    owner_client: Client, provider: Provider, workspace: Workspace
) -> None:
    row = provider.deployments.get(model="bge")
    url = f"{one(provider)}/models/{row.pk}"
    body = {"price_in": "0.02", "effective_from": "2026-01-01T00:00:00Z"}
    assert send(owner_client, "POST", url + "/prices", body).status_code == 201
    models = owner_client.get(one(provider) + "/models").json()
    assert [one["price"] for one in models if one["model"] == "bge"] == ["$0.02"]
    assert send(owner_client, "POST", url + "/reprice").json()["calls"] == 0
    assert not LlmCall.objects.exists()


def test_routes_are_read_and_set(owner_client: Client, provider: Provider) -> None:
    url = "/api/v1/routes/facets"
    body = {"strategy": "cheapest", "targets": [{"provider": str(provider.uid), "model": "qwen"}]}
    shown = send(owner_client, "PUT", url, body).json()
    assert (shown["strategy"], shown["chosen"]) == ("cheapest", True)
    shown = send(owner_client, "PUT", url, {"cache_days": 7}).json()
    assert (shown["strategy"], shown["cache_days"], len(shown["targets"])) == ("cheapest", 7, 1)
    shown = send(owner_client, "PUT", url, {"targets": []}).json()
    assert (shown["chosen"], shown["cache_days"]) == (False, 7)
    bad = {"targets": [{"provider": str(provider.uid), "model": "bge"}]}
    assert send(owner_client, "PUT", url, bad).status_code == 422
    assert send(owner_client, "PUT", "/api/v1/routes/nothing", {}).status_code == 404
    assert Route.objects.get().cache_days == 7


def test_pages_and_programs_refuse_the_same(
    owner_client: Client, analyst_client: Client, provider: Provider
) -> None:
    """Wrong input is refused at the same field through both doors; right input is taken."""
    form = {
        "name": "Second",
        "base_url": "https://second.example.org/v1",
        "chat_model": "m",
        "concurrency": "4",
        "connect_timeout": "1",
        "first_byte_timeout": "1",
        "total_timeout": "1",
    }
    body = {
        **{key: form[key] for key in ("name", "base_url")},
        "preset": "compatible",
        "models": [{"model": "m"}],
    }
    for field, value in (
        ("base_url", "http://169.254.169.254/v1"),
        ("base_url", "ftp://x.org"),
        ("name", "vLLM"),
        ("name", ""),
    ):
        page = owner_client.post(reverse("providers:new"), {**form, field: value})
        api = send(owner_client, "POST", API, {**body, field: value})
        assert (page.status_code, api.status_code) == (422, 422), (field, value)
        assert any(name.endswith(field) for name in api.json()["fields"])
    assert Provider.objects.count() == 1
    assert analyst_client.post(reverse("providers:new"), form).status_code == 403
    assert send(analyst_client, "POST", API, body).status_code == 403


def test_limits_of_use_through_both_doors(
    owner_client: Client, analyst: User, workspace: Workspace
) -> None:
    url, scope = "/api/v1/limits/use", f"user:{analyst.pk}"
    shown = send(owner_client, "PUT", url, {"scope": scope, "tokens_per_day": 100}).json()
    assert [(row["scope"], row["tokens_per_day"]) for row in shown] == [(scope, 100)]
    page = owner_client.get(reverse("providers:limits")).content.decode()
    assert "0 of 100 tokens today" in page
    owner_client.post(reverse("providers:use"), {"scope": scope, "requests_per_minute": "7"})
    assert UseLimit.objects.get().requests_per_minute == 7
    assert owner_client.get(url).json()[0]["requests_per_minute"] == 7
    owner_client.post(reverse("providers:use"), {"scope": scope})
    assert owner_client.get(url).json() == []


def test_many_providers_cost_few_queries(
    owner_client: Client, workspace: Workspace, django_assert_max_num_queries: Any
) -> None:
    for number in range(6):
        row = Provider.objects.create(workspace=workspace, name=f"P{number}", kind="scripted")
        ModelDeployment.objects.create(provider=row, model="m")
    with django_assert_max_num_queries(40):
        assert len(owner_client.get(API).json()) == 6
