"""What an owner may enter about a provider, and what it becomes for the gateway."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User, Workspace
from core.errors import Invalid
from providers import services
from providers.models import Provider
from providers.services import ModelInput, ProviderInput
from tests.providers.clients.certificate import write_self_signed

pytestmark = pytest.mark.django_db
GIVEN: dict[str, Any] = {"name": "Models", "base_url": "https://models.example.org/v1"}


def save(owner: User, workspace: Workspace, **changes: Any) -> Provider:
    provider = Provider.objects.filter(workspace=workspace).first()
    given = ProviderInput(**{**GIVEN, **changes})
    return services.save_provider(actor=owner, workspace=workspace, given=given, provider=provider)


def names(provider: Provider) -> list[tuple[str, bool]]:
    rows = provider.deployments.filter(retired=False)
    return list(rows.values_list("model", "embeds"))


def test_several_models_are_offered_and_those_not_named_are_retired(
    owner: User, workspace: Workspace
) -> None:
    more = (
        ModelInput(model="large", price_in=Decimal(2), price_out=Decimal(8), offers_batches=True),
        ModelInput(model="small", price_in=Decimal(1), price_cached=Decimal("0.1")),
        ModelInput(model="vectors", embeds=True, dimensions=384, context_tokens=512),
    )
    provider = save(owner, workspace, chat_model="small", embedding_model="vectors", models=more)
    assert names(provider) == [("small", False), ("vectors", True), ("large", False)]
    small = provider.deployments.get(model="small")
    assert (small.price_in, small.price_cached) == (1, Decimal("0.1"))
    assert provider.deployments.get(model="large").offers_batches
    vectors = provider.deployments.get(model="vectors")
    assert (vectors.dimensions, vectors.context_tokens) == (384, 512)
    provider = save(owner, workspace, chat_model="large")
    assert names(provider) == [("large", False)]
    assert provider.deployments.count() == 3


def test_what_a_trial_learned_is_forgotten_when_calls_go_elsewhere(
    owner: User, workspace: Workspace
) -> None:
    provider = save(owner, workspace, chat_model="m")
    provider.deployments.update(supports_schema=True, context_tokens=8192)
    save(owner, workspace, chat_model="m", name="Renamed")
    assert provider.deployments.get().supports_schema is True
    save(owner, workspace, chat_model="m", base_url="https://other.example.org/v1")
    row = provider.deployments.get()
    assert (row.supports_schema, row.context_tokens) == (None, 8192)


def test_everything_reaches_the_gateway(owner: User, workspace: Workspace, tmp_path: Path) -> None:
    both = write_self_signed(tmp_path).read_text()
    pem = both[both.index("-----BEGIN CERTIFICATE") :]
    provider = save(
        owner,
        workspace,
        chat_model="m",
        preset="azure",
        key="sk-some-long-secret",
        proxy="http://user:word@proxy.example.org:3128",
        ca_certificates=pem,
        headers={"X-Tenant": "north", "OpenAI-Organization": "org-1"},
        requests_per_minute=60,
        tokens_per_minute=90_000,
    )
    config = services.deployment_config(provider.deployments.get())
    assert config.auth == "api-key"
    assert config.proxy == "http://user:word@proxy.example.org:3128"
    assert config.certificates == pem.strip() + "\n"
    assert config.headers == (("OpenAI-Organization", "org-1"), ("X-Tenant", "north"))
    assert (config.requests_per_minute, config.tokens_per_minute) == (60, 90_000)
    stored = str(Provider.objects.values().get())
    assert not any(secret in stored for secret in ("north", "org-1", "word@", "sk-some"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("headers", {"Authorization": "Bearer x"}),
        ("headers", {"x-api-key": "x"}),
        ("headers", {"Host": "internal"}),
        ("headers", {"Transfer-Encoding": "chunked"}),
        ("headers", {"X-A": "one\r\nX-B: two"}),
        ("headers", {"X A": "one"}),
        ("headers", {"X-A": "é"}),
        ("headers", {"X-A": "1", "x-a": "2"}),
        ("headers", {f"X-{number}": "1" for number in range(21)}),
        ("proxy", "proxy.example.org:3128"),
        ("proxy", "socks5://proxy.example.org:1080"),
        ("proxy", "http://proxy.example.org"),
        ("proxy", "http://proxy.example.org:99999"),
        ("proxy", "http://169.254.169.254:80"),
        ("proxy", "http://proxy.example.org:80/path"),
        ("ca_certificates", "not a certificate"),
        ("ca_certificates", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"),
        ("ca_certificates", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"),
        ("requests_per_minute", 0),
        ("tokens_per_minute", -5),
        ("preset", "no-such-preset"),
        ("models", (ModelInput(model=""),)),
        ("models", (ModelInput(model="x" * 121),)),
        ("models", (ModelInput(model="m", price_in=Decimal("NaN")),)),
        ("models", (ModelInput(model="m", price_out=Decimal(-1)),)),
        ("models", (ModelInput(model="m", context_tokens=0),)),
        ("models", tuple(ModelInput(model=f"m{number}") for number in range(201))),
    ],
)
def test_what_cannot_be_is_refused_beside_its_field(
    owner: User, workspace: Workspace, field: str, value: Any
) -> None:
    with pytest.raises(Invalid) as caught:
        save(owner, workspace, **{field: value})
    assert list(caught.value.fields) == [field]
    assert not Provider.objects.exists()


def test_a_private_proxy_needs_the_operators_word(
    owner: User, workspace: Workspace, settings: Any
) -> None:
    settings.ALLOW_PRIVATE_PROVIDERS = False
    with pytest.raises(Invalid) as caught:
        save(owner, workspace, proxy="http://10.0.0.9:3128")
    assert "10.0.0.9" not in str(caught.value)
    settings.ALLOW_PRIVATE_PROVIDERS = True
    assert save(owner, workspace, proxy="http://10.0.0.9:3128").proxy_encrypted
