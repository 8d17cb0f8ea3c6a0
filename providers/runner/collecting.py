"""Looking at batches at their providers: by whom is told by the tables alone."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime

from django.utils import timezone

from core.errors import AppError
from providers.clients.bulk import AnthropicBatches, MistralBatches, OpenAIBatches
from providers.gateway.bulk import BulkApi
from providers.gateway.collecting import collect
from providers.gateway.errors import Fault
from providers.gateway.types import Deployment
from providers.models import ProviderBatch
from providers.runner.bulk import DatabaseBook
from providers.services.bulk import due, take_turn

log = logging.getLogger("openclio.worker")


def batch_api(deployment: Deployment) -> BulkApi:
    """New connections to a deployment's batch endpoints; close them."""
    if deployment.batch_api == "anthropic":
        return AnthropicBatches()
    return MistralBatches() if deployment.batch_api == "mistral" else OpenAIBatches()


def collect_due() -> int:
    """Look at every batch whose turn it is; returns at how many."""
    looked = 0
    for pk in list(due().values_list("pk", flat=True)):
        batch = take_turn(pk)
        if batch is not None:
            look_at(batch)
            looked += 1
    return looked


def look_at(batch: ProviderBatch, now: datetime | None = None) -> None:
    """Look once at a batch; a provider that does not answer is asked again at its next turn."""
    try:
        asyncio.run(_look(batch, now or timezone.now()))
    except AppError as error:
        log.warning("Batch %s cannot be asked about: %s", batch.uid, error.text)
    except Fault as fault:
        log.warning("Batch %s: the provider did not answer: %s", batch.uid, fault)


async def _look(batch: ProviderBatch, now: datetime) -> None:
    book = DatabaseBook(batch)
    try:
        deployment = await book.configured()
        api = batch_api(deployment)
        try:
            await collect(deployment, await book.held(now), api, book)
        finally:
            await api.aclose()
    finally:
        await book.aclose()
