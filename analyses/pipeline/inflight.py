"""Keeping several model calls in flight and taking their answers as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

from analyses.pipeline.base import Context

T = TypeVar("T")
R = TypeVar("R")

STOP_CHECK_SECONDS = 0.2
"""How long a stage may wait for answers before it looks at ``should_stop`` again."""


async def as_answered(
    items: Iterable[T], ask: Callable[[T], Awaitable[R]], context: Context
) -> AsyncIterator[R]:
    """Results of ``ask(item)`` in the order they arrive, at most ``concurrency`` at a time.

    The first exception ends the iteration and is raised, after the results that arrived with it;
    calls still in flight are cancelled then, as they are when the caller stops iterating or a
    stop was asked for.
    """
    waiting = iter(items)
    running: set[asyncio.Task[R]] = set()
    try:
        while True:
            context.check()
            _refill(running, waiting, ask, max(1, context.concurrency))
            if not running:
                return
            done, running = await asyncio.wait(
                running, timeout=STOP_CHECK_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            for task in sorted(done, key=lambda task: task.exception() is not None):
                yield task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _refill(
    running: set[asyncio.Task[R]],
    waiting: Iterable[T],
    ask: Callable[[T], Awaitable[R]],
    limit: int,
) -> None:
    """Start calls until ``limit`` are in flight or nothing is waiting."""
    if len(running) >= limit:
        return
    for item in waiting:
        running.add(asyncio.ensure_future(_call(ask, item)))
        if len(running) >= limit:
            return


async def _call(ask: Callable[[T], Awaitable[R]], item: T) -> R:
    return await ask(item)
