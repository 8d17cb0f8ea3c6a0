"""What the queue may call in providers. A task only says "look"; state is in the tables."""

from __future__ import annotations

import logging

from django.db import transaction

from accounts.models import User
from core.database import plainly
from core.errors import Forbidden, Invalid
from core.events import publish
from providers import services
from providers.events import ProviderChanged, topic_of
from providers.models import Provider
from providers.runner import probing
from providers.runner.collecting import collect_due

log = logging.getLogger("openclio.providers")


def bound_answers(*ignored: object) -> None:
    """Keep the stored answers of every workspace within their room."""
    services.bound_all_answers()


def collect_batches(*ignored: object) -> None:
    """Look at the batches at providers whose turn it is."""
    with plainly(log):
        collect_due()


def try_out(provider_pk: int, user_pk: int) -> None:
    """Try a provider out for a person; nothing is done when either is gone or may not."""
    with plainly(log):
        provider = Provider.objects.select_related("workspace").filter(pk=provider_pk).first()
        actor = User.objects.filter(pk=user_pk, is_active=True).first()
        if provider is None or actor is None:
            return
        try:
            services.test_provider(actor=actor, provider=provider)
        except (Forbidden, Invalid) as error:
            log.info("A provider was not tried out: %s", error.text)
        with transaction.atomic():
            publish(topic_of(provider.workspace_id), ProviderChanged(provider=provider_pk))


def probe_deployment(pk: int) -> None:
    """Try a resting model that nobody calls."""
    with plainly(log):
        probing.probe_deployment(pk)
