"""What the queue may call in providers. A task only says "look"; state is in the tables."""

from __future__ import annotations

import logging

from core.database import plainly
from providers import services
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
    """Try a provider out for a person, and tell open pages."""
    with plainly(log):
        services.try_out(provider_pk, user_pk)


def probe_deployment(pk: int) -> None:
    """Try a resting model that nobody calls."""
    with plainly(log):
        probing.probe_deployment(pk)
