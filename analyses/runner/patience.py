"""Database functions in threads of their own, asked again while the database is away."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import Error, connection

from core import database, work

log = logging.getLogger("openclio.worker")

AWAY_POLL = 0.5
"""Seconds before a database that did not answer is asked again."""


async def patiently(
    threads: ThreadPoolExecutor,
    hopeless: Callable[[], bool],
    function: Callable[..., Any],
    *args: Any,
) -> Any:
    """Run a function again while the database is away, as long as leases may last.

    Functions are one transaction each or only read. One whose commit went through although
    nobody heard of it finds its fence gone at the second try, and nothing is done twice.
    ``hopeless`` ends it early.
    """
    loop = asyncio.get_running_loop()
    give_up = time.monotonic() + work.LEASE.total_seconds()
    while True:
        try:
            return await loop.run_in_executor(threads, _mended, function, *args)
        except Error as error:
            if time.monotonic() > give_up or hopeless() or not database.passes(error):
                raise
            log.warning("The database does not answer; it is asked again.")
            await asyncio.sleep(AWAY_POLL)


def _mended(function: Callable[..., Any], *args: Any) -> Any:
    """Call a database function with a connection that was not broken by an earlier one."""
    database.mend()
    return function(*args)


def hang_up() -> None:
    """Close the calling thread's database connection."""
    connection.close()
