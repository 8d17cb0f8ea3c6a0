"""Asking a provider which models it has, before or after it is saved."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Protocol, runtime_checkable

from accounts.models import Role, User, Workspace
from accounts.services import require
from core.errors import Invalid
from providers.clients.opening import open_clients
from providers.gateway.catalogue import ModelInfo
from providers.gateway.errors import TRAITS, ErrorClass, Fault
from providers.gateway.types import Deployment
from providers.models import ModelDeployment, Provider
from providers.services.deployments import deployment_config
from providers.services.inputs import ModelInput, ProviderInput
from providers.services.providers import draft_provider

LISTING_SECONDS = 20.0
"""Longest a list of models is waited for."""

BESIDE: Mapping[ErrorClass, str] = {ErrorClass.AUTH: "key", ErrorClass.PERMISSION: "key"}
"""The field at fault; the address for everything else."""

ADVICE: Mapping[ErrorClass, str] = {
    ErrorClass.NETWORK: "Check the address and port, and that the server is running.",
    ErrorClass.TIMEOUT: "Check the address, and that the server is running.",
    ErrorClass.AUTH: "Enter the key again.",
    ErrorClass.PERMISSION: "Type the models' names instead.",
    ErrorClass.NOT_FOUND: "Check the base URL, or type the models' names: not every server has "
    "a list of them.",
    ErrorClass.SERVER: "Check the base URL, or type the models' names.",
}


@runtime_checkable
class Lists(Protocol):
    """A client that can ask for the list of models."""

    async def models(self, deployment: Deployment) -> list[ModelInfo]: ...


def fetch_models(
    *, actor: User, workspace: Workspace, given: ProviderInput, provider: Provider | None = None
) -> list[ModelInput]:
    """The models a provider lists now, with what it tells of each. Owners only.

    ``given`` is what an owner entered so far and is not stored; a stored key is used only where
    the address is still its own. Waits at most :data:`LISTING_SECONDS`, outside any transaction.
    Raises :class:`Invalid` naming the field at fault.
    """
    require(actor, workspace, Role.OWNER)
    row = draft_provider(workspace=workspace, given=given, provider=provider)
    target = deployment_config(ModelDeployment(provider=row, model="", embeds=False))
    try:
        found = asyncio.run(_list(target))
    except Fault as fault:
        raise Invalid(fields={BESIDE.get(fault.error_class, "base_url"): said(fault)}) from None
    return [_offered(one) for one in found]


async def _list(target: Deployment) -> list[ModelInfo]:
    short = replace(
        target.timeouts,
        first_byte=min(LISTING_SECONDS, target.timeouts.first_byte),
        total=min(LISTING_SECONDS, target.timeouts.total),
    )
    clients = open_clients()
    client: object = clients.get(target.kind)
    if not isinstance(client, Lists):
        raise Fault(ErrorClass.NOT_FOUND, "this kind of provider has no list of models")
    try:
        async with asyncio.timeout(short.total):
            return await client.models(replace(target, timeouts=short))
    except TimeoutError:
        raise Fault(ErrorClass.TIMEOUT, "no complete list in time") from None
    finally:
        for opened in clients.values():
            await opened.aclose()


def said(fault: Fault) -> str:
    """What went wrong and what to do, in our own words."""
    text = TRAITS[fault.error_class].text
    cause = f"{fault.detail[:1].upper()}{fault.detail[1:].rstrip('.')}." if fault.detail else text
    return f"{cause} {ADVICE.get(fault.error_class, '')}".strip()


def _offered(one: ModelInfo) -> ModelInput:
    return ModelInput(
        model=one.id,
        embeds=bool(one.embeds),
        price_in=_price(one.price_in),
        price_out=_price(one.price_out),
        context_tokens=one.context_tokens,
    )


def _price(value: float | None) -> Decimal | None:
    """As the tables keep it: six places."""
    return None if value is None else Decimal(str(value)).quantize(Decimal("0.000001"))
