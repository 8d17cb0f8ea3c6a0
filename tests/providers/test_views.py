"""Providers: keys stay secret, addresses are checked, trials say the exact cause."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.conf import settings
from django.urls import reverse

from accounts.models import AuditEvent
from providers import keys, services
from providers.models import ModelDeployment, Provider, ProviderKind

pytestmark = pytest.mark.django_db
KEY = "sk-a-very-secret-key-4f2c"
GIVEN = {
    "name": "vLLM",
    "base_url": "https://models.example.org/v1/",
    "key": KEY,
    "chat_model": "qwen-8b",
    "embedding_model": "bge-m3",
    "price_in": "0.15",
    "price_out": "0.60",
    "concurrency": "24",
    "connect_timeout": "2",
    "first_byte_timeout": "20",
    "total_timeout": "60",
    "enabled": "on",
}


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Provider]:
    """Trial calls that would leave this machine are only noted."""
    seen: list[Provider] = []
    monkeypatch.setattr(services, "test_provider", lambda *, actor, provider: seen.append(provider))
    return seen


@pytest.fixture
def provider(owner_client, tried) -> Provider:
    owner_client.post(reverse("providers:new"), GIVEN)
    return Provider.objects.get()


def edit(client, provider: Provider, **changes: str):
    data = {**GIVEN, "key": "", **changes}
    return client.post(reverse("providers:edit", args=[provider.pk]), data)


def test_saves_everything_and_tries_it_out(provider, tried) -> None:
    assert provider.base_url == "https://models.example.org/v1"
    assert (provider.concurrency, provider.total_timeout) == (24, 60)
    chat = provider.deployments.get(embeds=False)
    assert (chat.model, chat.price_in, chat.price_out) == (
        "qwen-8b",
        Decimal("0.15"),
        Decimal("0.60"),
    )
    assert provider.deployments.get(embeds=True).price_in is None
    assert tried == [provider]


def test_key_is_encrypted_and_never_shown(provider, owner_client) -> None:
    assert KEY not in str(Provider.objects.values().get())
    assert keys.decrypt(provider.key_encrypted, settings.ENCRYPTION_KEYS).reveal() == KEY
    html = owner_client.get(reverse("providers:edit", args=[provider.pk])).content.decode()
    assert KEY not in html
    assert provider.key_encrypted not in html
    assert "ends in 4f2c" in html
    assert KEY not in str(list(AuditEvent.objects.values()))


def test_refused_form_does_not_echo_the_key(owner_client, tried) -> None:
    answer = owner_client.post(reverse("providers:new"), {**GIVEN, "concurrency": "0"})
    assert answer.status_code == 422
    assert KEY not in answer.content.decode()


def test_empty_key_keeps_the_stored_one_and_a_tick_removes_it(provider, owner_client) -> None:
    edit(owner_client, provider, name="Renamed")
    provider.refresh_from_db()
    assert (provider.name, provider.key_hint) == ("Renamed", "4f2c")
    edit(owner_client, provider, remove_key="on")
    provider.refresh_from_db()
    assert (provider.key_encrypted, provider.key_hint) == ("", "")


def test_stored_key_is_not_sent_to_a_new_address(provider, owner_client) -> None:
    answer = edit(owner_client, provider, base_url="https://evil.example/v1")
    assert answer.status_code == 422
    assert "Enter the key again" in answer.content.decode()
    provider.refresh_from_db()
    assert provider.base_url == "https://models.example.org/v1"


@pytest.mark.parametrize(
    "address",
    ["http://169.254.169.254/v1", "http://2130706433/", "ftp://x.org", "https://u:p@x.org", "x"],
)
def test_dangerous_addresses_are_refused_beside_the_field(owner_client, tried, address) -> None:
    answer = owner_client.post(reverse("providers:new"), {**GIVEN, "base_url": address})
    assert answer.status_code == 422
    assert "id_base_url_error" in answer.content.decode()
    assert not Provider.objects.exists()


def test_private_addresses_need_the_operators_word(owner_client, tried, settings) -> None:
    local = {**GIVEN, "base_url": "http://localhost:11434/v1"}
    settings.ALLOW_PRIVATE_PROVIDERS = settings.LOCAL_MODELS = False
    assert owner_client.post(reverse("providers:new"), local).status_code == 422
    settings.LOCAL_MODELS = True
    other = {**local, "base_url": "http://localhost:6379/v1"}
    assert owner_client.post(reverse("providers:new"), other).status_code == 422
    assert owner_client.post(reverse("providers:new"), local).status_code == 302
    settings.ALLOW_PRIVATE_PROVIDERS = True
    other["name"] = "Another"
    assert owner_client.post(reverse("providers:new"), other).status_code == 302


def test_one_name_once(provider, owner_client) -> None:
    answer = owner_client.post(reverse("providers:new"), GIVEN)
    assert answer.status_code == 422
    assert "of this name already" in answer.content.decode()
    assert ModelDeployment.objects.count() == 2


def test_another_model_retires_the_old_one_and_back_again(provider, owner_client) -> None:
    old = provider.deployments.get(embeds=False)
    edit(owner_client, provider, chat_model="llama")
    old.refresh_from_db()
    assert old.retired
    assert provider.deployments.get(embeds=False, retired=False).model == "llama"
    edit(owner_client, provider)
    old.refresh_from_db()
    assert not old.retired
    assert provider.deployments.filter(embeds=False, retired=False).count() == 1


def test_config_for_the_gateway(provider) -> None:
    chat = provider.deployments.get(embeds=False)
    config = services.deployment_config(chat, concurrency=3)
    assert (config.model, config.embedding_model, config.concurrency) == ("qwen-8b", "", 3)
    assert config.api_key.reveal() == KEY
    assert config.price_in == pytest.approx(0.15)
    vectors = services.deployment_config(provider.deployments.get(embeds=True))
    assert (vectors.model, vectors.embedding_model, vectors.concurrency) == ("", "bge-m3", 24)


def test_trial_names_the_cause(owner_client, workspace) -> None:
    # Port 9 (discard) is closed here; the refusal comes from this machine's own network stack.
    row = Provider.objects.create(
        workspace=workspace,
        name="Nobody",
        kind=ProviderKind.OPENAI,
        base_url="http://127.0.0.1:9/v1",
        connect_timeout=1,
    )
    ModelDeployment.objects.create(provider=row, model="m")
    answer = owner_client.post(reverse("providers:test", args=[row.pk]), follow=True)
    html = answer.content.decode()
    assert "The test failed." in html
    assert "The connection was refused." in html
    row.refresh_from_db()
    assert row.check_ok is False


def test_trial_of_the_scripted_provider_succeeds(owner_client, workspace) -> None:
    row = Provider.objects.create(workspace=workspace, name="Script", kind=ProviderKind.SCRIPTED)
    ModelDeployment.objects.create(provider=row, model="scripted")
    answer = owner_client.post(reverse("providers:test", args=[row.pk]), follow=True)
    assert "The connection works." in answer.content.decode()
    row.refresh_from_db()
    assert row.check_ok is True


def test_trial_with_a_key_that_cannot_be_read_says_so(owner_client, workspace) -> None:
    row = Provider.objects.create(
        workspace=workspace, name="Old", kind=ProviderKind.SCRIPTED, key_encrypted="not a token"
    )
    answer = owner_client.post(reverse("providers:test", args=[row.pk]), follow=True)
    html = answer.content.decode()
    assert "The stored key can no longer be read." in html
    assert "not a token" not in html


def test_switching_off_is_shown_and_recorded(provider, owner_client) -> None:
    url = reverse("providers:switch", args=[provider.pk])
    html = owner_client.post(url, {"enabled": "0"}, follow=True).content.decode()
    assert "vLLM is off for new analyses." in html
    provider.refresh_from_db()
    assert not provider.enabled
    assert AuditEvent.objects.filter(action="provider.disabled").exists()
