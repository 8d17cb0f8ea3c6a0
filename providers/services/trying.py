"""Trying providers out, and asking them what they have."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from django.db import transaction
from django.utils import timezone

from accounts.models import Role, User
from accounts.services import audit, require
from core.errors import NotFound
from providers.clients.opening import open_prober
from providers.clients.presets import preset
from providers.gateway import probe
from providers.gateway.types import Deployment
from providers.models import ModelDeployment, Provider, ProviderKind
from providers.services.deployments import deployment_config
from providers.services.health import reopen_after_change

_LEARNED = [
    "supports_schema",
    "supports_tools",
    "supports_streaming",
    "context_tokens",
    "probed_at",
]


def test_provider(
    *,
    actor: User,
    provider: Provider,
    deployment: ModelDeployment | None = None,  # noqa: PT028 - no test
) -> probe.ProbeReport:
    """Make one small call of each sort and note what happened. Owners and analysts.

    The first chat and the first embedding model are tried, or ``deployment`` alone. What they are
    able to do is written down with them, and a success ends the rest of models that were left
    alone. Waits for the server for as long as the provider's timeouts allow, outside any
    transaction. Raises :class:`Invalid` for a secret that cannot be read.
    """
    require(actor, provider.workspace, Role.ANALYST)
    if deployment is not None and deployment.provider_id != provider.pk:
        raise NotFound
    chat, embeds = _tried(provider, deployment)
    report = asyncio.run(_probe(_trial(provider, chat, embeds)))
    provider.checked_at = timezone.now()
    provider.check_ok, provider.check_text = report.ok, report.text[:300]
    with transaction.atomic():
        provider.save(update_fields=["checked_at", "check_ok", "check_text"])
        _learn(provider, chat, embeds, report)
        audit(
            workspace=provider.workspace,
            actor=actor,
            action="provider.tested",
            obj=provider,
            ok=report.ok,
        )
        if report.ok:
            reopen_after_change(provider, answered=True)
    return report


def _tried(
    provider: Provider, one: ModelDeployment | None
) -> tuple[ModelDeployment | None, ModelDeployment | None]:
    """The chat and the embedding model to try."""
    rows = [one] if one is not None else list(provider.deployments.filter(retired=False))
    chat = next((row for row in rows if not row.embeds), None)
    return chat, next((row for row in rows if row.embeds), None)


def _trial(
    provider: Provider, chat: ModelDeployment | None, embeds: ModelDeployment | None
) -> Deployment:
    """One target with both models."""
    blank = ModelDeployment(provider=provider, model="", embeds=False)
    config = deployment_config(chat or blank)
    return replace(config, embedding_model=embeds.model if embeds else "")


def _learn(
    provider: Provider,
    chat: ModelDeployment | None,
    embeds: ModelDeployment | None,
    report: probe.ProbeReport,
) -> None:
    """Write down what the models turned out to be able to do."""
    now = timezone.now()
    if chat is not None and report.json_schema is not None:
        known = preset(provider.preset)
        chat.supports_schema, chat.probed_at = report.json_schema, now
        chat.supports_tools = _known(
            report.tools, chat.supports_tools, known.tools if known else None
        )
        chat.supports_streaming = _known(
            report.streaming, chat.supports_streaming, known.streaming if known else None
        )
        chat.context_tokens = report.context_tokens or chat.context_tokens
        chat.save(update_fields=_LEARNED)
    if embeds is not None and report.dimensions:
        embeds.dimensions, embeds.probed_at = report.dimensions, now
        embeds.save(update_fields=["dimensions", "probed_at"])


def _known(seen: bool | None, before: bool | None, usual: bool | None) -> bool | None:
    """What was seen now; else what was known before; else what is usual of such providers."""
    return next((one for one in (seen, before, usual) if one is not None), None)


async def _probe(target: Deployment) -> probe.ProbeReport:
    if target.kind == ProviderKind.LOCAL:
        return probe.ProbeReport(ok=True, text="It is part of this program and needs no network.")
    client = open_prober(target.kind)
    try:
        return await probe.probe(client, target)
    finally:
        await client.aclose()
