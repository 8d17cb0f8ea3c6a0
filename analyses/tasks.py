"""What the queue may call in analyses. State is in the tables; a task only says "look"."""

from __future__ import annotations

import asyncio
import logging

from analyses.runner.worker import Worker
from core.database import plainly

log = logging.getLogger("openclio.worker")

SLICE = 100.0
"""Seconds a worker holds one wake-up before it makes room; calls in flight still end."""


def pump(*ignored: object, **named: object) -> None:
    """Work on whatever is waiting, for one slice."""
    with plainly(log):
        asyncio.run(Worker(seconds=SLICE).run())
