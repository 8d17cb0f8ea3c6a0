"""What the gateway needs to know of a model: where, with what secrets, limits and prices."""

from __future__ import annotations

from decimal import Decimal

from django.conf import settings
from django.utils import timezone

from providers.addresses import address_rule
from providers.clients.presets import preset
from providers.gateway.types import Deployment, Timeouts
from providers.models import ModelDeployment, Provider, ProviderKind
from providers.selectors.prices import price_in_force
from providers.services.secrets import spare_key, stored_headers, stored_key, stored_proxy


def deployment_config(deployment: ModelDeployment, *, concurrency: int | None = None) -> Deployment:
    """The gateway's view of a model. Raises :class:`Invalid` if its key cannot be read.

    ``concurrency`` replaces the provider's own limit of calls at once. Prices are those in force
    now, so build it anew for work that goes on for long.
    """
    row = deployment.provider
    dated = price_in_force(deployment, timezone.now())
    prices = dated or deployment
    return Deployment(
        id=str(deployment.pk),
        provider=row.name,
        kind=row.kind,
        model="" if deployment.embeds else deployment.model,
        embedding_model=deployment.model if deployment.embeds else "",
        base_url=row.base_url,
        api_key=stored_key(row),
        spare_key=spare_key(row),
        auth=auth_of(row),
        timeouts=Timeouts(row.connect_timeout, row.first_byte_timeout, row.total_timeout),
        concurrency=concurrency or row.concurrency,
        requests_per_minute=row.requests_per_minute,
        tokens_per_minute=row.tokens_per_minute,
        price_in=_price(prices.price_in),
        price_out=_price(prices.price_out),
        price_cached=_price(prices.price_cached),
        context_tokens=deployment.context_tokens,
        supports_schema=deployment.supports_schema,
        supports_tools=deployment.supports_tools,
        supports_streaming=deployment.supports_streaming,
        headers=stored_headers(row),
        certificates=row.ca_certificates,
        proxy=stored_proxy(row).reveal(),
        allow_private=may_be_private(row.base_url),
        journaled=row.kind != ProviderKind.LOCAL,
        reconciles=row.reconciles,
    )


def auth_of(row: Provider) -> str:
    """How the provider wants its key: ``bearer``, ``api-key`` or ``x-api-key``."""
    known = preset(row.preset)
    if known is not None:
        return known.auth
    return "x-api-key" if row.kind == ProviderKind.ANTHROPIC else "bearer"


def may_be_private(url: str) -> bool:
    """Whether the server at a base URL may be on this machine or in the private network."""
    return address_rule(
        url, private=settings.ALLOW_PRIVATE_PROVIDERS, local_models=settings.LOCAL_MODELS
    )


def _price(value: Decimal | None) -> float | None:
    return None if value is None else float(value)
