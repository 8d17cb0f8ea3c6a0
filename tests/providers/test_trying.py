"""What a trial of a provider writes down."""

from __future__ import annotations

import pytest

from accounts.models import AuditEvent, User, Workspace
from core.errors import Forbidden, NotFound
from providers import services
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
