"""Changes to providers, and what the gateway needs to know about them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.models import Role, User, Workspace
from accounts.services import audit, require
from core.errors import Invalid
from providers import keys
from providers.addresses import AddressRefused, check_base_url
from providers.clients.openai_compatible import OpenAICompatibleClient
from providers.clients.scripted import ScriptedClient
from providers.gateway import probe
from providers.gateway.types import Client, Deployment, Secret, Timeouts
from providers.models import ModelDeployment, Provider, ProviderKind
from providers.services.inputs import ProviderInput


def save_provider(
    *, actor: User, workspace: Workspace, given: ProviderInput, provider: Provider | None = None
) -> Provider:
    """Add a provider, or change one. Owners only.

    Raises :class:`Invalid` for an address that must not be called and for a name in use. A model
    that is no longer named stays for the analyses that used it and is not offered again.
    """
    require(actor, workspace, Role.OWNER)
    row = provider or Provider(workspace=workspace, created_by=actor)
    row.base_url = checked_address(given)
    stored = Provider.objects.get(pk=provider.pk).base_url if provider else row.base_url
    if row.base_url != stored and given.key is None and row.key_encrypted:
        # Else an owner could have a stored key sent to an address of their choice.
        raise Invalid(fields={"key": "Enter the key again, because the address changed."})
    _fill(row, given)
    try:
        with transaction.atomic():
            row.save()
            _offer(row, given.chat_model, False, given.price_in, given.price_out)
            _offer(row, given.embedding_model, True, given.embedding_price, None)
            audit(
                workspace=workspace,
                actor=actor,
                action="provider.changed" if provider else "provider.added",
                obj=row,
                name=row.name,
                base_url=row.base_url,
                key_replaced=given.key is not None,
            )
    except IntegrityError as error:
        raise Invalid(fields={"name": "There is a provider of this name already."}) from error
    return row


def checked_address(given: ProviderInput) -> str:
    """The base URL in normal form; raises :class:`Invalid`."""
    if given.kind != ProviderKind.OPENAI:
        return given.base_url
    try:
        return check_base_url(given.base_url, allow_private=settings.ALLOW_PRIVATE_PROVIDERS)
    except AddressRefused as error:
        raise Invalid(fields={"base_url": error.message}) from error


def _fill(row: Provider, given: ProviderInput) -> None:
    for name in (
        "name",
        "kind",
        "connect_timeout",
        "first_byte_timeout",
        "total_timeout",
        "concurrency",
        "enabled",
        "reconciles",
    ):
        setattr(row, name, getattr(given, name))
    if given.key is not None:
        row.key_encrypted = keys.encrypt(given.key, settings.ENCRYPTION_KEYS)
        row.key_hint = keys.hint(given.key)
    # A changed provider has not been tested.
    row.checked_at, row.check_ok, row.check_text = None, None, ""


def _offer(
    row: Provider,
    model: str,
    embeds: bool,
    price_in: Decimal | None,
    price_out: Decimal | None,
) -> None:
    """Offer this one model of its sort and retire the others."""
    others = row.deployments.filter(embeds=embeds, retired=False).exclude(model=model)
    others.update(retired=True)
    if model:
        ModelDeployment.objects.update_or_create(
            provider=row,
            model=model,
            embeds=embeds,
            defaults={"price_in": price_in, "price_out": price_out, "retired": False},
        )


@transaction.atomic
def set_enabled(*, actor: User, provider: Provider, enabled: bool) -> None:
    """Switch a provider on or off for new calls. Owners only."""
    require(actor, provider.workspace, Role.OWNER)
    provider.enabled = enabled
    provider.save(update_fields=["enabled"])
    action = "provider.enabled" if enabled else "provider.disabled"
    audit(workspace=provider.workspace, actor=actor, action=action, obj=provider)


def deployment_config(deployment: ModelDeployment, *, concurrency: int | None = None) -> Deployment:
    """The gateway's view of a model. Raises :class:`Invalid` if its key cannot be read.

    ``concurrency`` replaces the provider's own limit of calls at once.
    """
    row = deployment.provider
    return Deployment(
        id=str(deployment.pk),
        provider=row.name,
        kind=row.kind,
        model="" if deployment.embeds else deployment.model,
        embedding_model=deployment.model if deployment.embeds else "",
        base_url=row.base_url,
        api_key=stored_key(row),
        timeouts=Timeouts(row.connect_timeout, row.first_byte_timeout, row.total_timeout),
        concurrency=concurrency or row.concurrency,
        price_in=_price(deployment.price_in),
        price_out=_price(deployment.price_out),
        supports_schema=deployment.supports_schema,
        headers=tuple(sorted(row.extra_headers.items())),
        allow_private=settings.ALLOW_PRIVATE_PROVIDERS,
        journaled=row.kind != ProviderKind.LOCAL,
        reconciles=row.reconciles,
    )


def stored_key(row: Provider) -> Secret:
    """The provider's key, decrypted; raises :class:`Invalid` after the server's own keys changed."""
    try:
        return keys.decrypt(row.key_encrypted, settings.ENCRYPTION_KEYS)
    except keys.KeyUnreadable as error:
        raise Invalid(
            fields={"key": "The stored key can no longer be read. Enter it again."}
        ) from error


def _price(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def test_provider(*, actor: User, provider: Provider) -> probe.ProbeReport:
    """Make one small call of each sort and note what happened. Owners and analysts.

    Waits for the server for as long as the provider's timeouts allow, outside any transaction.
    """
    require(actor, provider.workspace, Role.ANALYST)
    rows = list(provider.deployments.filter(retired=False))
    report = asyncio.run(_probe(_trial(provider, rows)))
    provider.checked_at = timezone.now()
    provider.check_ok, provider.check_text = report.ok, report.text[:300]
    with transaction.atomic():
        provider.save(update_fields=["checked_at", "check_ok", "check_text"])
        if report.json_schema is not None:
            provider.deployments.filter(retired=False, embeds=False).update(
                supports_schema=report.json_schema
            )
        audit(
            workspace=provider.workspace,
            actor=actor,
            action="provider.tested",
            obj=provider,
            ok=report.ok,
        )
    return report


def _trial(provider: Provider, rows: list[ModelDeployment]) -> Deployment:
    """One target with the provider's chat and embedding model."""
    chat = next((row for row in rows if not row.embeds), None)
    embeds = next((row for row in rows if row.embeds), None)
    blank = ModelDeployment(provider=provider, model="", embeds=False)
    config = deployment_config(chat or blank)
    return replace(config, embedding_model=embeds.model if embeds else "")


async def _probe(target: Deployment) -> probe.ProbeReport:
    client: Client = ScriptedClient() if target.kind == "scripted" else OpenAICompatibleClient()
    try:
        return await probe.probe(client, target)
    finally:
        await client.aclose()
