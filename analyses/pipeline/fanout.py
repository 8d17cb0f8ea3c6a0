"""Keeping a bounded number of model calls in flight."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from analyses.pipeline.base import Context, Stopped

Item = TypeVar("Item")
Result = TypeVar("Result")

STOP_POLL = 0.2
"""Seconds between looks at ``should_stop`` while calls are outstanding."""


async def fan_out(
    items: Sequence[Item], work: Callable[[Item], Awaitable[Result]], context: Context
) -> AsyncIterator[Result]:
    """Run ``work`` on every item, at most ``context.concurrency`` at once; yield as they finish.

    Raises :class:`Stopped` within :data:`STOP_POLL` of a stop being asked for, and whatever
    ``work`` raises; calls still in flight are then cancelled. Results finished before are yielded
    first.
    """
    waiting = iter(items)
    running: set[asyncio.Task[Result]] = set()
    done_count = 0
    try:
        while True:
            context.check()
            for item in waiting:
                running.add(asyncio.ensure_future(_run(work, item)))
                if len(running) >= max(1, context.concurrency):
                    break
            if not running:
                return
            done, running = await asyncio.wait(
                running, timeout=STOP_POLL, return_when=asyncio.FIRST_COMPLETED
            )
            failed = [task for task in done if task.exception() is not None]
            for task in done:
                if task.exception() is None:
                    done_count += 1
                    yield task.result()
                    if context.should_stop():
                        raise Stopped
            if failed:
                failed[0].result()
            context.report(done_count, len(items))
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _run(work: Callable[[Item], Awaitable[Result]], item: Item) -> Result:
    return await work(item)
