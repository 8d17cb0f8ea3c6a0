"""One provider: its page, its models and prices, its keys, and a question to try it."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User, Workspace
from providers import keys
from providers.models import (
    CallState,
    HealthSlot,
    LlmCall,
    ModelDeployment,
    ModelPrice,
    Provider,
    ProviderBatch,
)
from providers.runner import asking
from providers.services.use import set_use_limit
from tests.providers.pages import KEY, NEXT, page, provider

__all__ = ["provider"]


@pytest.mark.django_db
def test_the_page_shows_state_use_models_batches_and_what_is_retired(
    owner_client: Client, analyst_client: Client, provider: Provider, workspace: Workspace
) -> None:
    chat = provider.deployments.get(embeds=False)
    ModelDeployment.objects.create(provider=provider, model="gone", retired=True)
    HealthSlot.objects.create(
        deployment=chat,
        start=timezone.now() - timedelta(minutes=5),
        owner="w",
        answered=90,
        failed=10,
        recovered=4,
        tokens=1234,
        errors={"timeout": 10},
    )
    ProviderBatch.objects.create(workspace=workspace, deployment=chat, size=800, collected=25)
    LlmCall.objects.create(
        workspace=workspace,
        deployment_id=chat.pk,
        fingerprint="f" * 64,
        purpose="facets",
        provider=provider.name,
        model=chat.model,
        state=CallState.OK,
        cost=Decimal("1.25"),
        sent_at=timezone.now(),
    )
    for client in (owner_client, analyst_client):
        html = page(client, "detail", provider.pk)
        for text in (
            "The provider did not answer in time.",
            "1,234 tokens",
            "4 failed once, then worked",
            "800",
            "1 model no longer offered",
            "gone",
            "JSON schema",
        ):
            assert text in html, text
    assert "$1.25" in page(owner_client, "detail", provider.pk, by="model")
    assert "Trials, outside any project" in page(owner_client, "detail", provider.pk, by="project")
    assert "Rest<" in page(owner_client, "detail", provider.pk)
    assert "Rest<" not in page(analyst_client, "detail", provider.pk)


@pytest.mark.django_db
def test_a_model_is_rested_and_returned_by_hand(owner_client: Client, provider: Provider) -> None:
    model = provider.deployments.get(embeds=False)
    act = ("providers:rest-model", [provider.pk, model.pk])
    html = owner_client.post(reverse(act[0], args=[*act[1], "rest"]), follow=True).content.decode()
    assert "It was taken out of use by hand." in html
    assert "Return to use" in html
    html = owner_client.post(
        reverse(act[0], args=[*act[1], "return"]), follow=True
    ).content.decode()
    assert "is in use again." in html
    assert owner_client.post(reverse(act[0], args=[*act[1], "burn"])).status_code == 404


@pytest.mark.django_db
def test_one_model_is_tested_alone(owner_client: Client, provider: Provider) -> None:
    vectors = provider.deployments.get(embeds=True)
    url = reverse("providers:test", args=[provider.pk])
    html = owner_client.post(url, {"model": vectors.pk}, follow=True).content.decode()
    assert "Embeddings have" in html
    vectors.refresh_from_db()
    assert vectors.probed_at is not None
    assert provider.deployments.get(embeds=False).probed_at is None


@pytest.mark.django_db
def test_keys_are_replaced_beside_the_old_one(
    owner_client: Client, owner: User, provider: Provider
) -> None:
    Provider.objects.filter(pk=provider.pk).update(
        kind="openai",
        base_url="http://127.0.0.1:9/v1",
        connect_timeout=1,
        key_encrypted=keys.encrypt(KEY, django_settings.ENCRYPTION_KEYS),
        key_hint=KEY[-4:],
    )
    url = reverse("providers:key", args=[provider.pk])
    wrong = owner_client.post(url, {"key": NEXT + "\x7f"})
    assert wrong.status_code == 422
    assert NEXT not in wrong.content.decode()
    owner_client.post(url, {"key": NEXT, "keep_old": "on"})
    html = page(owner_client, "edit", provider.pk)
    assert NEXT[-4:] in html
    assert KEY[-4:] in html
    assert f"by {owner.name}" in html
    html = owner_client.post(
        reverse("providers:key-spare", args=[provider.pk]), follow=True
    ).content.decode()
    assert "The old key is removed." in html
    provider.refresh_from_db()
    assert (provider.key_hint, provider.spare_key_encrypted) == (NEXT[-4:], "")


@pytest.mark.django_db
def test_a_price_holds_from_its_day_on_and_prices_what_was_called(
    owner_client: Client, analyst_client: Client, workspace: Workspace
) -> None:
    row = Provider.objects.create(
        workspace=workspace, name="Own", kind="openai", base_url="https://own.example.org/v1"
    )
    model = ModelDeployment.objects.create(provider=row, model="qwen")
    LlmCall.objects.create(
        workspace=workspace,
        deployment_id=model.pk,
        fingerprint="f" * 64,
        purpose="facets",
        provider="Own",
        model="qwen",
        state=CallState.OK,
        tokens_in=1_000_000,
        tokens_out=0,
        sent_at=timezone.now() - timedelta(hours=1),
    )
    args = (row.pk, model.pk)
    assert "1 answer without a price" in page(owner_client, "prices", *args)
    url = reverse("providers:prices", args=args)
    assert owner_client.post(url, {"price_in": "2"}).status_code == 422
    day = (timezone.now() - timedelta(days=2)).date().isoformat()
    owner_client.post(url, {"price_in": "2", "price_out": "4", "since": day})
    assert "$2.00 in, $4.00 out" in page(analyst_client, "prices", *args)
    assert "Save price" not in page(analyst_client, "prices", *args)
    html = owner_client.post(reverse("providers:reprice", args=args), follow=True).content.decode()
    assert "1 call priced, $2.00 in all." in html
    price = ModelPrice.objects.get()
    owner_client.post(reverse("providers:price-drop", args=[*args, price.pk]))
    assert "unpriced" in page(owner_client, "prices", *args)


def tried(client: Client, provider: Provider, **data: Any) -> Any:
    """What the door answers, as lines of JSON."""
    lines = data.pop("lines", True)
    model = provider.deployments.get(embeds=False).pk
    more = {"headers": {"Accept": "application/x-ndjson"}} if lines else {}
    return client.post(
        reverse("providers:try", args=[provider.pk]),
        {"model": model, "text": "<b>Hello</b>", **data},
        **more,
    )


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume asynchronous")
@pytest.mark.django_db(transaction=True)
def test_a_question_is_answered_counted_and_not_kept(
    analyst_client: Client, analyst: User, provider: Provider
) -> None:
    answer = tried(analyst_client, provider)
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in b"".join(answer).splitlines()]
    assert "".join(line.get("text", "") for line in lines)
    assert lines[-1]["ok"]
    assert "Script · scripted-1" in lines[-1]["said"]
    assert "First words after" in lines[-1]["said"]
    call = LlmCall.objects.get()
    assert (call.purpose, call.user_id, call.state) == ("trial", analyst.pk, CallState.OK)
    assert call.tokens_out > 0
    assert call.response == ""
    plain = tried(analyst_client, provider, lines=False)
    assert plain.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert plain.headers["X-Content-Type-Options"] == "nosniff"
    assert b"Script \xc2\xb7 scripted-1" in b"".join(plain)
    assert LlmCall.objects.count() == 2


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume asynchronous")
@pytest.mark.django_db(transaction=True)
def test_a_question_keeps_within_the_limits_of_use(
    owner: User, analyst_client: Client, analyst: User, provider: Provider
) -> None:
    set_use_limit(
        actor=owner,
        workspace=provider.workspace,
        scope=f"user:{analyst.pk}",
        requests_per_minute=None,
        tokens_per_day=1,
    )
    lines = [json.loads(line) for line in b"".join(tried(analyst_client, provider)).splitlines()]
    assert not lines[-1]["ok"]
    assert "tokens" in lines[-1]["said"]
    assert not any(line.get("text") for line in lines)


@pytest.mark.django_db
def test_a_question_has_bounds(analyst_client: Client, provider: Provider) -> None:
    assert tried(analyst_client, provider, text="").status_code == 422
    assert tried(analyst_client, provider, text="x" * 2001).status_code == 422
    vectors = provider.deployments.get(embeds=True).pk
    assert tried(analyst_client, provider, model=vectors).status_code == 422
    assert tried(analyst_client, provider, model=10**9).status_code == 404
    Provider.objects.update(enabled=False)
    assert tried(analyst_client, provider).status_code == 409


@pytest.mark.django_db(transaction=True)
def test_nothing_is_kept_when_the_reader_leaves(analyst: User, provider: Provider) -> None:
    """The answer was whole and journalled when the page was closed before its end."""
    model = provider.deployments.select_related("provider").get(embeds=False)

    async def leave() -> None:
        pieces = asking.answer(analyst, model, "Hello")
        assert (await anext(pieces)).text
        await asyncio.sleep(0.5)
        await pieces.aclose()

    async_to_sync(leave)()
    call = LlmCall.objects.get()
    assert call.response == ""
