"""What a trial of a provider writes down."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import AuditEvent, User, Workspace
from core.errors import Forbidden, NotFound
from providers import services
from providers.clients.scripted import Scenario, ScriptedClient
from providers.gateway.probe import ProbeReport
from providers.models import DeploymentHealth, ModelDeployment, Provider, ProviderKind
from providers.models.health import BreakerState

pytestmark = pytest.mark.django_db


@pytest.fixture
def provider(workspace: Workspace) -> Provider:
    row = Provider.objects.create(
        workspace=workspace, name="Script", kind=ProviderKind.SCRIPTED, preset="scripted"
    )
    for model, embeds in (("one", False), ("two", False), ("vectors", True)):
        ModelDeployment.objects.create(provider=row, model=model, embeds=embeds)
    return row


def model(provider: Provider, name: str) -> ModelDeployment:
    return provider.deployments.get(model=name)


def test_the_first_model_of_each_sort_is_tried_and_known_from_then_on(
    analyst: User, provider: Provider
) -> None:
    report = services.test_provider(actor=analyst, provider=provider)
    assert report.ok
    chat, other, vectors = (model(provider, name) for name in ("one", "two", "vectors"))
    assert (chat.supports_schema, chat.supports_tools, chat.supports_streaming) == (True,) * 3
    assert chat.probed_at is not None
    assert (other.supports_schema, other.probed_at) == (None, None)
    assert vectors.dimensions == report.dimensions > 0
    config = services.deployment_config(chat)
    assert (config.supports_schema, config.supports_tools) == (True, True)


def test_what_the_server_showed_outweighs_what_is_usual_and_what_was_known(
    analyst: User, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.deployments.update(context_tokens=1, supports_streaming=True)
    shown = Scenario(tools=False, streaming=False, context_tokens=9_000, models=("one",))
    monkeypatch.setattr(
        "providers.clients.opening.ScriptedClient", lambda **how: ScriptedClient(shown)
    )
    services.test_provider(actor=analyst, provider=provider)
    chat = model(provider, "one")
    assert (chat.supports_tools, chat.supports_streaming) == (False, False)
    assert chat.context_tokens == 9_000
    config = services.deployment_config(chat)
    assert (config.supports_tools, config.supports_streaming) == (False, False)
    assert config.context_tokens == 9_000


def test_what_could_not_be_tried_stays_as_it_was_known(
    analyst: User, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.deployments.update(context_tokens=5_000, supports_tools=False)

    async def silent(*args: Any) -> ProbeReport:
        return ProbeReport(ok=True, text="", chat=True, json_schema=True)

    monkeypatch.setattr("providers.services.trying.probe.probe", silent)
    services.test_provider(actor=analyst, provider=provider)
    chat = model(provider, "one")
    assert (chat.supports_tools, chat.context_tokens) == (False, 5_000)
    assert chat.supports_streaming is True, "as the preset has it"


def test_one_model_is_tried_alone(analyst: User, provider: Provider) -> None:
    services.test_provider(actor=analyst, provider=provider, deployment=model(provider, "two"))
    assert model(provider, "two").supports_schema
    assert model(provider, "one").probed_at is None
    assert model(provider, "vectors").probed_at is None


def test_a_success_ends_the_rest_of_a_model(analyst: User, provider: Provider) -> None:
    row = DeploymentHealth.objects.create(
        deployment=model(provider, "one"), state=BreakerState.OPEN, reason="auth"
    )
    services.test_provider(actor=analyst, provider=provider)
    row.refresh_from_db()
    assert row.state == BreakerState.CLOSED


def test_only_members_try_and_only_models_of_the_provider(
    viewer: User, analyst: User, outsider: User, provider: Provider, workspace: Workspace
) -> None:
    for person, error in ((viewer, Forbidden), (outsider, NotFound)):
        with pytest.raises(error):
            services.test_provider(actor=person, provider=provider)
    other = Provider.objects.create(workspace=workspace, name="Other", kind=ProviderKind.SCRIPTED)
    stranger = ModelDeployment.objects.create(provider=other, model="m")
    with pytest.raises(NotFound):
        services.test_provider(actor=analyst, provider=provider, deployment=stranger)
    assert not AuditEvent.objects.filter(action="provider.tested").exists()


def test_the_engine_inside_needs_no_network(analyst: User, workspace: Workspace) -> None:
    row = Provider.objects.create(workspace=workspace, name="Here", kind=ProviderKind.LOCAL)
    assert services.test_provider(actor=analyst, provider=row).ok
