"""Trying providers out, and asking them what they have."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from django.db import transaction
from django.utils import timezone

from accounts.models import Role, User
from accounts.services import audit, require
from providers.clients.openai_compatible import OpenAICompatibleClient
from providers.clients.scripted import ScriptedClient
from providers.gateway import probe
from providers.gateway.types import Client, Deployment
from providers.models import ModelDeployment, Provider
from providers.services.deployments import deployment_config


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
