"""Changes to providers: adding, changing, switching on and off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from accounts.models import Role, User, Workspace
from accounts.services import audit, require
from core.errors import Invalid, NotFound
from core.events import publish
from providers import keys
from providers.addresses import AddressRefused, check_base_url
from providers.clients.presets import preset
from providers.events import ProviderChanged, topic_of
from providers.models import ModelDeployment, ModelPrice, Provider, ProviderKind
from providers.services.deployments import may_be_private
from providers.services.health import reopen_after_change
from providers.services.inputs import (
    ModelInput,
    ProviderInput,
    checked_certificates,
    checked_headers,
    checked_proxy,
    checked_rates,
    offered,
)
from providers.services.secrets import sealed, stored_proxy

AGAIN = "Enter {} again, because the address, the proxy or the certificates changed."


def save_provider(
    *, actor: User, workspace: Workspace, given: ProviderInput, provider: Provider | None = None
) -> Provider:
    """Add a provider, or change one. Owners only.

    Raises :class:`Invalid` for an address that must not be called, for a name in use and for
    whatever else cannot be kept. A model that is no longer named stays for the analyses that used
    it and is not offered again.
    """
    require(actor, workspace, Role.OWNER)
    given = _checked(given)
    models = offered(given)
    try:
        with transaction.atomic():
            row = _row(workspace, provider) or Provider(workspace=workspace, created_by=actor)
            moved = _fill(row, given)
            row.save()
            _offer(row, models, moved)
            audit(
                workspace=workspace,
                actor=actor,
                action="provider.changed" if provider else "provider.added",
                obj=row,
                name=row.name,
                base_url=row.base_url,
                key_replaced=given.key is not None,
                proxy_replaced=given.proxy is not None,
                headers=sorted(row.extra_headers),
            )
            if moved or given.key is not None:
                reopen_after_change(row)
    except IntegrityError as error:
        raise Invalid(fields={"name": "There is a provider of this name already."}) from error
    return row


def draft_provider(
    *, workspace: Workspace, given: ProviderInput, provider: Provider | None = None
) -> Provider:
    """The row as it would be stored, without storing it; raises :class:`Invalid` likewise.

    A stored secret stays in it only where it would not be sent elsewhere than before.
    """
    row = copy(provider) if provider else Provider(workspace=workspace)
    _fill(row, _checked(given))
    return row


def _row(workspace: Workspace, provider: Provider | None) -> Provider | None:
    """The stored row, held until the change is written."""
    if provider is None:
        return None
    found = Provider.objects.select_for_update().filter(pk=provider.pk, workspace=workspace).first()
    if found is None:
        raise NotFound
    return found


def checked_address(given: ProviderInput) -> str:
    """The base URL in normal form; raises :class:`Invalid`."""
    if given.kind not in (ProviderKind.OPENAI, ProviderKind.ANTHROPIC):
        return given.base_url
    try:
        return check_base_url(given.base_url, allow_private=may_be_private(given.base_url))
    except AddressRefused as error:
        raise Invalid(fields={"base_url": error.message}) from error


def _checked(given: ProviderInput) -> ProviderInput:
    """The input in normal form; raises :class:`Invalid`."""
    if given.preset and preset(given.preset) is None:
        raise Invalid(fields={"preset": "There is no such preset."})
    checked_rates(given)
    private = settings.ALLOW_PRIVATE_PROVIDERS
    certificates, headers = given.ca_certificates, given.headers
    return replace(
        given,
        base_url=checked_address(given),
        proxy=None if given.proxy is None else checked_proxy(given.proxy, allow_private=private),
        ca_certificates=None if certificates is None else checked_certificates(certificates),
        headers=None if headers is None else checked_headers(headers),
    )


PLAIN = (
    "name",
    "kind",
    "preset",
    "base_url",
    "connect_timeout",
    "first_byte_timeout",
    "total_timeout",
    "concurrency",
    "requests_per_minute",
    "tokens_per_minute",
    "enabled",
    "reconciles",
)
"""What is stored as it was entered."""


def _fill(row: Provider, given: ProviderInput) -> bool:
    """Write the input into the row; returns whether its calls go elsewhere from now on."""
    moved = not row._state.adding and _moves(row, given)
    if moved:
        _entered_again(row, given)
        row.spare_key_encrypted = row.spare_key_hint = ""
    for name in PLAIN:
        setattr(row, name, getattr(given, name))
    if given.key is not None:
        row.key_encrypted, row.key_hint = sealed(given.key), keys.hint(given.key)
        row.key_changed_at = timezone.now()
    if given.proxy is not None:
        row.proxy_encrypted = sealed(given.proxy)
    if given.ca_certificates is not None:
        row.ca_certificates = given.ca_certificates
    if given.headers is not None:
        row.extra_headers = _headers(row, given.headers)
    # A changed provider has not been tested.
    row.checked_at, row.check_ok, row.check_text = None, None, ""
    return moved


def _moves(row: Provider, given: ProviderInput) -> bool:
    """Whether what is sent would reach, or could be read by, another machine than before."""
    if given.base_url != row.base_url:
        return True
    if given.ca_certificates and given.ca_certificates != row.ca_certificates:
        return True
    if not given.proxy:
        return False
    try:
        return given.proxy != stored_proxy(row).reveal()
    except Invalid:
        return True


def _entered_again(row: Provider, given: ProviderInput) -> None:
    """Raises :class:`Invalid` where a stored secret would be sent elsewhere.

    Else an owner could have a stored key sent to an address of their choice.
    """
    if given.key is None and row.key_encrypted:
        raise Invalid(fields={"key": AGAIN.format("the key")})
    kept = row.extra_headers if given.headers is None else given.headers
    if any(given.headers is None or kept[name] is None for name in kept):
        raise Invalid(fields={"headers": AGAIN.format("the headers' values")})


def _headers(row: Provider, given: Mapping[str, str | None]) -> dict[str, str]:
    """Names with their encrypted values: a new one, or the one stored so far."""
    found: dict[str, str] = {}
    for name, value in given.items():
        token = row.extra_headers.get(name, "") if value is None else sealed(value)
        if token:
            found[name] = token
    return found


def _offer(row: Provider, models: Sequence[ModelInput], moved: bool) -> None:
    """Offer these models and retire the others."""
    named = Q(pk__in=[])
    for one in models:
        named |= Q(model=one.model, embeds=one.embeds)
    row.deployments.filter(retired=False).exclude(named).update(retired=True)
    if moved:
        row.deployments.update(
            supports_schema=None, supports_tools=None, supports_streaming=None, probed_at=None
        )
    for one in models:
        _offer_one(row, one)


def _offer_one(row: Provider, one: ModelInput) -> None:
    values = {
        "price_in": one.price_in,
        "price_out": one.price_out,
        "price_cached": one.price_cached,
        "offers_batches": one.offers_batches,
        "retired": False,
    }
    for name in ("context_tokens", "dimensions"):
        if getattr(one, name) is not None:
            values[name] = getattr(one, name)
    old = row.deployments.filter(model=one.model, embeds=one.embeds).first()
    deployment, _ = ModelDeployment.objects.update_or_create(
        provider=row, model=one.model, embeds=one.embeds, defaults=values
    )
    changed = old is not None and (old.price_in, old.price_out, old.price_cached) != (
        one.price_in,
        one.price_out,
        one.price_cached,
    )
    if changed and one.price_in is not None and deployment.prices.exists():
        # Dated prices go before the one without a date, so a new one needs its date as well.
        ModelPrice.objects.create(
            deployment=deployment,
            price_in=one.price_in,
            price_out=one.price_out or 0,
            price_cached=one.price_cached,
        )


@transaction.atomic
def set_enabled(*, actor: User, provider: Provider, enabled: bool) -> None:
    """Switch a provider on or off for new calls. Owners only."""
    require(actor, provider.workspace, Role.OWNER)
    provider.enabled = enabled
    provider.save(update_fields=["enabled"])
    action = "provider.enabled" if enabled else "provider.disabled"
    audit(workspace=provider.workspace, actor=actor, action=action, obj=provider)
    publish(topic_of(provider.workspace_id), ProviderChanged(provider=provider.pk))
