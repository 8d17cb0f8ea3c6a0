"""Adding a provider by preset, its page, its keys, trying it, stored answers and the books."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from typing_extensions import override

from accounts.models import User, Workspace
from providers import keys
from providers.clients.presets import PRESETS
from providers.models import (
    CacheDay,
    CallState,
    HealthSlot,
    LlmCall,
    ModelDeployment,
    ModelPrice,
    Provider,
    ProviderBatch,
    Route,
)
from providers.services.use import set_use_limit

KEY = "sk-a-very-secret-key-4f2c"
NEXT = "sk-the-one-that-follows-88aa"
PROXY = "http://proxyuser:proxypass77@proxy.example.org:3128"
VALUE = "tenant-value-5520"
TIMES = {
    "concurrency": "4",
    "connect_timeout": "2",
    "first_byte_timeout": "2",
    "total_timeout": "2",
    "enabled": "on",
}


class Listing(BaseHTTPRequestHandler):
    """A server with a list of models, for who has the key."""

    names = ("qwen-8b", "llama-3", "bge-embed-m3")
    key = ""

    def do_GET(self) -> None:
        wrong = self.key and self.headers.get("Authorization") != f"Bearer {self.key}"
        rows = [{"id": name, "max_model_len": 8192} for name in self.names]
        body = {"error": {"message": KEY}} if wrong else {"object": "list", "data": rows}
        if self.path != "/v1/models":
            body, wrong = {}, True
        self.send_response(401 if wrong else 200)
        data = json.dumps(body).encode()
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    @override
    def log_message(self, *args: Any) -> None:
        """Silent."""


@pytest.fixture
def server() -> Iterator[str]:
    """The base URL of a running server that lists models."""
    Listing.key = ""
    running = ThreadingHTTPServer(("127.0.0.1", 0), Listing)
    thread = Thread(target=running.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_address[1]}/v1"
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def provider(workspace: Workspace) -> Provider:
    """A provider inside this program, with a chat and an embedding model."""
    row = Provider.objects.create(
        workspace=workspace, name="Script", kind="scripted", preset="scripted"
    )
    ModelDeployment.objects.create(provider=row, model="scripted-1")
    ModelDeployment.objects.create(provider=row, model="scripted-embed", embeds=True)
    return row


def page(client: Client, name: str, *args: Any, **data: Any) -> str:
    """The words of a page."""
    answer = client.get(reverse(f"providers:{name}", args=args), data)
    assert answer.status_code == 200, (name, answer.status_code)
    return answer.content.decode()


def every_page(client: Client, provider: Provider) -> list[str]:
    """Every page that shows something of a provider, for whom may see it."""
    model = provider.deployments.first()
    assert model is not None
    urls = [
        reverse("providers:detail", args=[provider.pk]),
        reverse("providers:detail", args=[provider.pk]) + "?by=model",
        reverse("providers:edit", args=[provider.pk]),
        reverse("providers:prices", args=[provider.pk, model.pk]),
        *(reverse(f"providers:{name}") for name in ("list", "answers", "limits", "books", "new")),
    ]
    return [client.get(url).content.decode() for url in urls]


# --- Adding -----------------------------------------------------------------------------------


@pytest.mark.django_db
def test_every_preset_has_a_card_and_a_form(owner_client: Client, settings: Any) -> None:
    settings.LOCAL_MODELS = True
    cards = page(owner_client, "new")
    for one in PRESETS:
        assert f"?preset={one.key}" in cards
        form = page(owner_client, "new", preset=one.key)
        assert ('name="base_url"' in form) == (one.kind != "scripted" and not one.blanks)
        assert ('name="key"' in form) == (one.kind != "scripted")
        assert all(f'name="{blank.name}"' in form for blank in one.blanks)
        if one.base_url and not one.blanks:
            assert one.base_url in form
    assert cards.count('name="connect"') == sum(bool(one.local) for one in PRESETS)
    settings.LOCAL_MODELS = settings.ALLOW_PRIVATE_PROVIDERS = False
    assert 'name="connect"' not in page(owner_client, "new")


@pytest.mark.django_db
def test_a_needed_key_and_a_blank_are_asked_for(owner_client: Client) -> None:
    data = {"preset": "azure", "name": "Azure", "chat": ["gpt"], "resource": "a/b", **TIMES}
    answer = owner_client.post(reverse("providers:new"), data)
    html = answer.content.decode()
    assert answer.status_code == 422
    assert "Enter the key." in html
    assert "This is not a resource." in html


@pytest.mark.django_db
def test_azure_address_is_made_of_its_resource(
    owner_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("providers.services.test_provider", lambda **_: None)
    data = {"preset": "azure", "name": "Azure", "chat": ["gpt"], "resource": "north", **TIMES}
    answer = owner_client.post(reverse("providers:new"), {**data, "key": KEY})
    assert answer.status_code == 302
    row = Provider.objects.get()
    assert row.base_url == "https://north.openai.azure.com/openai/v1"
    assert row.preset == "azure"


@pytest.mark.django_db
@pytest.mark.parametrize("door", ["htmx", "plain"])
def test_models_are_loaded_ticked_and_saved(
    owner_client: Client, server: str, door: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By script or by a plain submit the same list comes; what is ticked is offered."""
    monkeypatch.setattr("providers.services.test_provider", lambda **_: None)
    data = {"preset": "compatible", "name": "Mine", "base_url": server, **TIMES}
    url = reverse("providers:models" if door == "htmx" else "providers:new")
    html = owner_client.post(url, {**data, "key": KEY, "load": "1"}).content.decode()
    for name in Listing.names:
        assert f'value="{name}"' in html
    assert "3 models found" in html
    assert "unpriced" in html
    assert KEY not in html
    assert not Provider.objects.exists()
    found = html.split('name="found" value="')[1].split('"')[0]
    ticked = {"chat": ["qwen-8b", "llama-3"], "embed": ["bge-embed-m3"], "found": found}
    assert owner_client.post(reverse("providers:new"), {**data, **ticked}).status_code == 302
    rows = Provider.objects.get().deployments
    assert set(rows.values_list("model", "embeds", "context_tokens")) == {
        ("qwen-8b", False, 8192),
        ("llama-3", False, 8192),
        ("bge-embed-m3", True, 8192),
    }


@pytest.mark.django_db
def test_a_list_that_nobody_signed_is_ignored(
    owner_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("providers.services.test_provider", lambda **_: None)
    data = {"preset": "scripted", "name": "S", "chat": ["m"], "found": "W3siYSI6MX1d:x:y", **TIMES}
    assert owner_client.post(reverse("providers:new"), data).status_code == 302
    assert Provider.objects.get().deployments.get().context_tokens is None


@pytest.mark.django_db
def test_why_a_list_did_not_come_stands_where_it_belongs(owner_client: Client, server: str) -> None:
    Listing.key = KEY
    data = {"preset": "compatible", "name": "Mine", "base_url": server, "load": "1", **TIMES}
    url = reverse("providers:new")
    refused = owner_client.post(url, {**data, "key": NEXT})
    assert refused.status_code == 422
    html = refused.content.decode()
    assert "id_key_error" in html
    assert NEXT not in html
    assert KEY not in html  # the server's own words are never shown
    silent = owner_client.post(url, {**data, "base_url": "http://127.0.0.1:9/v1"})
    assert "id_base_url_error" in silent.content.decode()
    private = owner_client.post(url, {**data, "base_url": "http://169.254.169.254/v1"})
    assert "id_base_url_error" in private.content.decode()


@pytest.mark.django_db
def test_loading_sends_a_stored_key_to_its_own_address_alone(
    owner_client: Client, workspace: Workspace, server: str
) -> None:
    Listing.key = KEY
    sealed = keys.encrypt(KEY, django_settings.ENCRYPTION_KEYS)
    row = Provider.objects.create(
        workspace=workspace, name="Mine", kind="openai", base_url=server, key_encrypted=sealed
    )
    url = reverse("providers:models") + f"?provider={row.pk}"
    data = {"name": "Mine", "base_url": server, **TIMES}
    assert "3 models found" in owner_client.post(url, data).content.decode()
    moved = owner_client.post(url, {**data, "base_url": server.replace("127.0.0.1", "localhost")})
    assert "Enter the key again" in moved.content.decode()


@pytest.mark.django_db
def test_one_click_connects_a_server_on_this_machine(
    owner_client: Client, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The card's button asks the usual port, offers what it finds and names what went wrong."""
    monkeypatch.setattr("providers.services.test_provider", lambda **_: None)
    ollama = next(one for one in PRESETS if one.key == "ollama")
    here = type(ollama)(**{**{k: getattr(ollama, k) for k in ollama.__slots__}, "base_url": server})
    monkeypatch.setattr("providers.views.adding.preset", lambda _: here)
    data = {"preset": "ollama", "connect": "1"}
    assert owner_client.post(reverse("providers:new"), data).status_code == 302
    row = Provider.objects.get()
    assert row.name == "Ollama"
    assert set(row.deployments.values_list("model", "embeds")) == {
        ("qwen-8b", False),
        ("llama-3", False),
        ("bge-embed-m3", True),
    }
    owner_client.post(reverse("providers:new"), data)
    assert Provider.objects.filter(name="Ollama 2").exists()
    monkeypatch.setattr(Listing, "names", ())
    html = owner_client.post(reverse("providers:new"), data).content.decode()
    assert "Ollama answers and has no models yet." in html


@pytest.mark.django_db
def test_secrets_typed_into_a_refused_form_do_not_come_back(owner_client: Client) -> None:
    data = {
        "preset": "compatible",
        "name": "",
        "base_url": "https://models.example.org/v1",
        "chat_model": "m",
        "key": KEY,
        "proxy": PROXY,
        "headers": f"X-Tenant: {VALUE}\nX-Other:{NEXT}",
        **TIMES,
    }
    answer = owner_client.post(reverse("providers:new"), data)
    html = answer.content.decode()
    assert answer.status_code == 422
    assert "X-Tenant:" in html
    for secret in (KEY, PROXY, VALUE, NEXT):
        assert secret not in html
    again = {**data, "name": "Mine", "headers": "X-Tenant:"}
    assert (
        "Enter the value of X-Tenant."
        in owner_client.post(reverse("providers:new"), again).content.decode()
    )


@pytest.mark.django_db
def test_editing_keeps_prices_secrets_and_what_is_known(
    owner_client: Client, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("providers.services.test_provider", lambda **_: None)
    data = {
        "preset": "compatible",
        "name": "Mine",
        "base_url": "https://models.example.org/v1",
        "chat_model": "qwen",
        "price_in": "0.15",
        "price_out": "0.6",
        "key": KEY,
        "headers": f"X-Tenant: {VALUE}",
        **TIMES,
    }
    assert owner_client.post(reverse("providers:new"), data).status_code == 302
    row = Provider.objects.get()
    row.deployments.update(context_tokens=4096)
    change = {
        "name": "Renamed",
        "base_url": data["base_url"],
        "chat": ["qwen"],
        "chat_model": "llama",
        "headers": "X-Tenant:",
        "requests_per_minute": "60",
        **TIMES,
    }
    answer = owner_client.post(reverse("providers:edit", args=[row.pk]), change)
    assert answer.status_code == 302
    row.refresh_from_db()
    assert (row.name, row.key_hint, row.requests_per_minute) == ("Renamed", KEY[-4:], 60)
    assert list(row.extra_headers) == ["X-Tenant"]
    kept = row.deployments.get(model="qwen")
    assert (kept.price_in, kept.price_out, kept.context_tokens) == (
        Decimal("0.15"),
        Decimal("0.6"),
        4096,
    )
    assert row.deployments.get(model="llama").price_in is None


# --- One provider -----------------------------------------------------------------------------


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


# --- Trying it --------------------------------------------------------------------------------


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


# --- Stored answers and books -----------------------------------------------------------------


def answered(workspace: Workspace, number: int, **more: Any) -> LlmCall:
    values: dict[str, Any] = {
        "purpose": "facets",
        "provider": "Script",
        "model": "qwen",
        "prompt_version": "facets-1",
        "cost": Decimal("0.10"),
        **more,
    }
    return LlmCall.objects.create(
        workspace=workspace,
        fingerprint=f"{number:064d}",
        state=CallState.OK,
        response="{}",
        tokens_in=10,
        sends=1,
        sent_at=timezone.now(),
        settled_at=timezone.now(),
        **values,
    )


@pytest.mark.django_db
def test_stored_answers_are_shown_and_forgotten_by_group(
    owner_client: Client, workspace: Workspace
) -> None:
    for number in range(3):
        answered(workspace, number)
    kept = answered(workspace, 9, prompt_version="facets-2")
    CacheDay.objects.create(
        workspace=workspace,
        purpose="facets",
        day=timezone.now().date(),
        hits=12,
        saved=Decimal("3.5"),
    )
    html = page(owner_client, "answers")
    for text in ("$3.50", "facets-1", "facets-2", "75%"):
        assert text in html
    group = {"model": "qwen", "prompt_version": "facets-1", "purpose": "facets"}
    html = owner_client.post(
        reverse("providers:answers-forget"), group, follow=True
    ).content.decode()
    assert "3 answers forgotten." in html
    assert list(LlmCall.objects.exclude(response="")) == [kept]
    assert LlmCall.objects.count() == 4


@pytest.mark.django_db
def test_near_questions_are_switched_by_purpose(owner_client: Client, workspace: Workspace) -> None:
    url = reverse("providers:answers-rules", args=["facets"])
    owner_client.post(url, {"semantic": "shadow", "cache": "1", "cache_days": "30"})
    route = Route.objects.get()
    assert (route.semantic, route.cache_days, route.targets.count()) == ("shadow", 30, 0)
    Route.objects.update(shadow_compared=20, shadow_agreed=19)
    assert "20 of 50 comparisons, it agreed in 19" in page(owner_client, "answers")
    owner_client.post(url, {"semantic": "off", "cache": "1", "cache_days": ""})
    route.refresh_from_db()
    assert (route.semantic, route.cache_days) == ("off", None)
    html = owner_client.post(url, {"cache": "1", "cache_days": "0"}, follow=True).content.decode()
    assert "Enter 1 to 3,650 days" in html


@pytest.mark.django_db
def test_the_books_are_shown_and_downloaded(owner_client: Client, workspace: Workspace) -> None:
    answered(workspace, 1, model="=cmd()", provider="Script")
    html = page(owner_client, "books")
    assert "$0.10" in html
    assert "The books and the journal differ." in html  # this row did not go through the ledger
    answer = owner_client.get(reverse("providers:books-csv"))
    text = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]
    rows = list(csv.DictReader(text.splitlines()))
    assert [(row["model"], Decimal(row["settled"])) for row in rows] == [
        ("'=cmd()", Decimal("0.1"))
    ]
    none = page(owner_client, "books", since="2020-01-01", until="2020-01-31")
    assert "No calls in this time" in none
    assert page(owner_client, "books", since="x", until="9999-99-99")
