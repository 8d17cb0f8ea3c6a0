"""Adding a provider: by preset, with its models loaded, by one click; and changing one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client
from django.urls import reverse
from typing_extensions import override

from accounts.models import Workspace
from providers import keys
from providers.clients.presets import PRESETS
from providers.models import (
    Provider,
)
from tests.providers.pages import KEY, NEXT, PROXY, TIMES, VALUE, page


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
