"""Two live keys, new server keys, and no place where a secret shows."""

from __future__ import annotations

import logging
from io import StringIO

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.urls import reverse

from accounts.models import AuditEvent, User, Workspace
from core.errors import Conflict, Forbidden, Invalid, NotFound
from core.models import Event
from providers import keys, services
from providers.models import BreakerState, DeploymentHealth, ModelDeployment, Provider, ProviderKind
from providers.services import ProviderInput
from providers.services import keys as keys_service

pytestmark = pytest.mark.django_db
KEY = "sk-first-very-secret-4f2c"
NEXT = "sk-second-very-secret-9a1b"
PROXY = "http://someone:proxy-password@proxy.example.org:3128"
HEADER = "tenant-secret-value-77"
OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))


@pytest.fixture
def provider(owner: User, workspace: Workspace) -> Provider:
    given = ProviderInput(
        name="Models",
        base_url="https://models.example.org/v1",
        chat_model="m",
        key=KEY,
        proxy=PROXY,
        headers={"X-Tenant": HEADER},
    )
    return services.save_provider(actor=owner, workspace=workspace, given=given)


def config(provider: Provider):
    return services.deployment_config(provider.deployments.select_related("provider").get())


def test_the_old_key_lives_on_until_it_is_dropped(owner: User, provider: Provider) -> None:
    services.replace_key(actor=owner, provider=provider, key=NEXT, keep_old=True)
    now = config(provider)
    assert (now.api_key.reveal(), now.spare_key.reveal()) == (NEXT, KEY)
    provider.refresh_from_db()
    assert (provider.key_hint, provider.spare_key_hint) == ("9a1b", "4f2c")
    assert provider.key_changed_at is not None
    services.drop_spare_key(actor=owner, provider=provider)
    assert not config(provider).spare_key
    with pytest.raises(Conflict):
        services.drop_spare_key(actor=owner, provider=provider)
    actions = AuditEvent.objects.order_by("pk").values_list("action", flat=True)
    assert list(actions)[-2:] == ["provider.key_replaced", "provider.spare_key_dropped"]


def test_a_model_that_was_left_alone_for_its_key_is_used_again(
    owner: User, provider: Provider
) -> None:
    row = DeploymentHealth.objects.create(
        deployment=provider.deployments.get(), state=BreakerState.OPEN, reason="auth"
    )
    services.replace_key(actor=owner, provider=provider, key=NEXT, keep_old=True)
    row.refresh_from_db()
    assert row.state == BreakerState.CLOSED


def test_without_keeping_it_the_old_key_is_gone_at_once(owner: User, provider: Provider) -> None:
    services.replace_key(actor=owner, provider=provider, key=NEXT, keep_old=False)
    assert not config(provider).spare_key


@pytest.mark.parametrize("key", ["", "a\nb", "ключ", "x" * 501])
def test_what_no_header_can_carry_is_no_key(owner: User, provider: Provider, key: str) -> None:
    with pytest.raises(Invalid) as caught:
        services.replace_key(actor=owner, provider=provider, key=key, keep_old=True)
    assert not key or key not in str(caught.value)
    assert config(provider).api_key.reveal() == KEY


def test_keys_are_the_owners(
    analyst: User, outsider: User, other_owner: User, provider: Provider
) -> None:
    for person, error in ((analyst, Forbidden), (outsider, NotFound), (other_owner, NotFound)):
        with pytest.raises(error):
            services.replace_key(actor=person, provider=provider, key=NEXT, keep_old=True)
        with pytest.raises(error):
            services.drop_spare_key(actor=person, provider=provider)


def rotate(*options: str) -> str:
    out = StringIO()
    call_command("rotate_keys", *options, stdout=out)
    return out.getvalue()


def test_every_secret_moves_to_the_new_server_key(
    owner: User, workspace: Workspace, settings, monkeypatch
) -> None:
    monkeypatch.setattr(keys_service, "GROUP", 2)
    settings.ENCRYPTION_KEYS = [OLD]
    given = ProviderInput(
        name="Models",
        base_url="https://models.example.org/v1",
        chat_model="m",
        key=KEY,
        proxy=PROXY,
        headers={"X-Tenant": HEADER},
    )
    provider = services.save_provider(actor=owner, workspace=workspace, given=given)
    services.replace_key(actor=owner, provider=provider, key=NEXT, keep_old=True)
    for number in range(4):  # some of them without any secret
        sealed = keys.encrypt(KEY, [OLD]) if number % 2 else ""
        Provider.objects.create(
            workspace=workspace, name=f"P{number}", kind="openai", key_encrypted=sealed
        )
    settings.ENCRYPTION_KEYS = [NEW, OLD]
    with pytest.raises(CommandError, match="Older keys are still needed"):
        rotate("--check")
    assert config(provider).api_key.reveal() == NEXT
    assert rotate().startswith("6 secrets: 6 encrypted anew, 0 under the newest key already")
    assert rotate().startswith("6 secrets: 0 encrypted anew, 6 under the newest key already")
    assert "the older ones may go" in rotate("--check")
    settings.ENCRYPTION_KEYS = [NEW]
    now = config(provider)
    assert (now.api_key.reveal(), now.spare_key.reveal()) == (NEXT, KEY)
    assert (now.proxy, now.headers) == (PROXY, (("X-Tenant", HEADER),))


def test_a_secret_no_key_opens_is_named_by_its_provider(provider: Provider, settings) -> None:
    settings.ENCRYPTION_KEYS = [NEW, OLD]
    before = Provider.objects.values().get()
    with pytest.raises(CommandError, match=r"3 secrets cannot be read .* at: Models"):
        rotate()
    assert Provider.objects.values().get() == before


def test_a_rotation_that_broke_off_is_taken_up_again(provider: Provider, settings) -> None:
    (current,) = settings.ENCRYPTION_KEYS
    settings.ENCRYPTION_KEYS = [NEW, current]
    Provider.objects.update(key_encrypted=keys.rotate(provider.key_encrypted, [NEW, current]))
    assert rotate().startswith("3 secrets: 2 encrypted anew, 1 under the newest key already")


def test_no_place_shows_a_secret(
    owner: User, owner_client, admin_client, provider: Provider, settings, caplog
) -> None:
    """Logs, events, audit, pages, the admin, exceptions and what objects say of themselves."""
    caplog.set_level(logging.DEBUG)
    services.replace_key(actor=owner, provider=provider, key=NEXT, keep_old=True)
    said = [repr(config(provider)), str(config(provider)), repr(provider)]
    given = ProviderInput(
        name="n", base_url="u", key=KEY, proxy=PROXY, headers={"X-Tenant": HEADER}
    )
    said.append(repr(given))
    for url in (
        reverse("providers:list"),
        reverse("providers:edit", args=[provider.pk]),
        reverse("providers:limits"),
    ):
        said.append(owner_client.get(url).content.decode())
    said.append(
        admin_client.get(
            reverse("admin:providers_provider_change", args=[provider.pk])
        ).content.decode()
    )
    settings.ENCRYPTION_KEYS = [NEW]
    for call in (
        lambda: config(provider),
        lambda: rotate(),
        lambda: services.test_provider(actor=owner, provider=provider),
    ):
        with pytest.raises((Invalid, CommandError)) as caught:
            call()
        said.append(repr(caught.getrepr(showlocals=False)) + str(caught.value))
    said += [str(list(AuditEvent.objects.values())), str(list(Event.objects.values())), caplog.text]
    row = Provider.objects.get()
    stored = [row.key_encrypted, row.spare_key_encrypted, row.proxy_encrypted]
    for secret in (KEY, NEXT, "proxy-password", HEADER, *stored, *row.extra_headers.values()):
        assert secret
        assert [text for text in said if secret in text] == []


def test_secrets_are_not_sent_to_another_place(
    owner: User, workspace: Workspace, provider: Provider
) -> None:
    """A key stays with the address, the proxy and the certificates it was entered for."""
    services.replace_key(actor=owner, provider=provider, key=NEXT, keep_old=True)

    def save(**changes: object) -> None:
        values = {
            "name": "Models",
            "base_url": "https://models.example.org/v1",
            "chat_model": "m",
            **changes,
        }
        services.save_provider(
            actor=owner, workspace=workspace, given=ProviderInput(**values), provider=provider
        )

    for changes in (
        {"base_url": "https://evil.example.org/v1"},
        {"proxy": "http://evil.example.org:1"},
    ):
        with pytest.raises(Invalid, match="Enter the key again"):
            save(**changes)
        with pytest.raises(Invalid, match="Enter the headers' values again"):
            save(**changes, key="sk-another-key-entirely")
    save(name="Models", proxy=PROXY, headers={"X-Tenant": None})  # the same places, said again
    assert config(provider).headers == (("X-Tenant", HEADER),)
    save(proxy="", headers={})
    assert (config(provider).proxy, config(provider).headers) == ("", ())
    save(base_url="https://elsewhere.example.org/v1", key=KEY)
    now = config(provider)
    assert (now.api_key.reveal(), now.spare_key.reveal()) == (KEY, "")


def test_a_provider_of_elsewhere_is_not_changed(
    other_owner: User, other_workspace: Workspace, provider: Provider
) -> None:
    given = ProviderInput(name="Mine", base_url="https://evil.example.org/v1", key="")
    with pytest.raises(NotFound):
        services.save_provider(
            actor=other_owner, workspace=other_workspace, given=given, provider=provider
        )


def test_a_kind_without_an_address_needs_no_secret(owner: User, workspace: Workspace) -> None:
    row = Provider.objects.create(workspace=workspace, name="S", kind=ProviderKind.SCRIPTED)
    ModelDeployment.objects.create(provider=row, model="m")
    now = config(row)
    assert (now.auth, now.headers, now.proxy, bool(now.api_key)) == ("bearer", (), "", False)
