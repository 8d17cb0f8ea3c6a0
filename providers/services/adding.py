"""Adding a provider once, however often a program asks; and what one offers, to change it."""

from __future__ import annotations

from uuid import UUID

from django.db import IntegrityError, transaction

from accounts.models import Role, User, Workspace
from accounts.services import require
from core.errors import Invalid
from providers.models import ModelDeployment, Provider
from providers.services.inputs import ModelInput, ProviderInput
from providers.services.providers import save_provider


def add_provider_once(
    *, actor: User, workspace: Workspace, given: ProviderInput, uid: UUID | None
) -> Provider:
    """Add a provider; the one that has this ``uid`` already is given back as it stands.

    Owners only. Raises :class:`Invalid` like :func:`save_provider`.
    """
    require(actor, workspace, Role.OWNER)
    if uid is None:
        return save_provider(actor=actor, workspace=workspace, given=given)
    mine = Provider.objects.filter(workspace=workspace, uid=uid)
    found = mine.first()
    if found is not None:
        return found
    try:
        with transaction.atomic():
            row = save_provider(actor=actor, workspace=workspace, given=given)
            row.uid = uid
            row.save(update_fields=["uid"])
            return row
    except (Invalid, IntegrityError):
        # Somebody was a moment faster with the same call; anything else is refused as it was.
        found = mine.first()
        if found is None:
            raise
        return found


def stored_models(
    provider: Provider | None, *, retired: bool = True
) -> dict[tuple[str, bool], ModelInput]:
    """Every model the provider offers or, with ``retired``, ever offered; by name and sort.

    As :func:`save_provider` takes them, with what is known of each, so that naming one again
    changes nothing of it. One query.
    """
    rows = ModelDeployment.objects.filter(provider=provider) if provider else []
    return {
        (row.model, row.embeds): ModelInput(
            model=row.model,
            embeds=row.embeds,
            price_in=row.price_in,
            price_out=row.price_out,
            price_cached=row.price_cached,
            context_tokens=row.context_tokens,
            dimensions=row.dimensions,
            offers_batches=row.offers_batches,
        )
        for row in rows
        if retired or not row.retired
    }
