"""How a batch ends that was not completed. ``db`` runs a function in a database thread."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from django.db import Error

from analyses.models import Batch
from analyses.pipeline.base import CallFailed
from analyses.runner.outage import passing
from analyses.services.advance import block, give_up, given_back
from core import database, work

log = logging.getLogger("openclio.worker")

Run = Callable[..., Awaitable[Any]]


async def give_back(db: Run, batch: Batch) -> None:
    """Give it back untried; somebody goes on with it later."""
    try:
        await db(given_back, batch)
    except work.LeaseLost:
        log.warning("Batch %s was taken by another worker.", batch)
    except Error as error:
        if not database.passes(error):
            raise
        log.warning("Batch %s could not be given back; its lease runs out.", batch)


async def failed(db: Run, batch: Batch, error: str) -> None:
    """Count a try that failed for a reason of the batch's own."""
    try:
        await db(give_up, batch, error)
    except work.LeaseLost:
        log.warning("Batch %s was taken by another worker.", batch)


async def call_failed(db: Run, batch: Batch, error: CallFailed) -> None:
    """A model call failed: the analysis waits for an outage to end, else the try counts."""
    if not passing(error):
        await failed(db, batch, error.message)
        return
    # First of all, or another worker takes what is given back and meets the same.
    await db(block, batch.session_id, error.error_class, error.message, error.retry_after)
    await give_back(db, batch)
