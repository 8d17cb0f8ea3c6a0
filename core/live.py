"""The live tail: one per web process, telling open pages which topics have news.

State lives in tables; an event says what changed. The tail reads ``(topic, next_seq)`` of the
topics somebody watches, every :data:`POLL_SECONDS`, and wakes their pages through the channel
layer of this process. On PostgreSQL a NOTIFY wakes it sooner; with Redis configured, groups reach
every process. Nothing is lost when a wake-up is: pages compare numbers, not messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.db import Error, connection

from core.models import Topic

log = logging.getLogger("openclio.live")

POLL_SECONDS = 0.12
"""Pause between looks at the table (a reader sees an event within about 0.2 s)."""

LISTEN_AGAIN = 5.0
"""Seconds before a database that ended its NOTIFY is listened to again."""


def group_name(topic: str) -> str:
    """A channel group name for a topic (letters, digits, dots, hyphens only)."""
    return "topic." + topic.replace(":", ".")


class Tail:
    """Follows the topics that have watchers."""

    def __init__(self) -> None:
        self._watchers: Counter[str] = Counter()
        self._seen: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._nudge = asyncio.Event()

    def watch(self, topic: str) -> None:
        """Begin to follow a topic (counted)."""
        self._watchers[topic] += 1
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    def unwatch(self, topic: str) -> None:
        """One watcher less; the last one ends the following."""
        self._watchers[topic] -= 1
        if self._watchers[topic] <= 0:
            del self._watchers[topic]
            self._seen.pop(topic, None)

    async def _run(self) -> None:
        listener = asyncio.create_task(_listen(self._nudge))
        try:
            while self._watchers:
                try:
                    await self._look()
                except Error:
                    log.warning("The live tail could not read; it tries again.")
                    await asyncio.sleep(1.0)
                except Exception:
                    log.exception("The live tail could not read; it tries again.")
                    await asyncio.sleep(1.0)
                await self._pause()
        finally:
            listener.cancel()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._nudge.wait(), POLL_SECONDS)
        self._nudge.clear()

    async def _look(self) -> None:
        numbers: dict[str, int] = await database_sync_to_async(_numbers)(list(self._watchers))
        layer = get_channel_layer()
        for topic, seq in numbers.items():
            if self._seen.get(topic) != seq and layer is not None:
                self._seen[topic] = seq
                await layer.group_send(group_name(topic), {"type": "live.news", "seq": seq})


def _numbers(topics: list[str]) -> dict[str, int]:
    rows = Topic.objects.filter(name__in=topics).values_list("name", "next_seq")
    return {name: next_seq - 1 for name, next_seq in rows}


async def _listen(nudge: asyncio.Event) -> None:
    """Set ``nudge`` at every NOTIFY; does nothing on SQLite. Polling goes on beside it.

    A server that went away is listened to again when it is back.
    """
    if connection.vendor != "postgresql":
        return
    import psycopg

    while True:
        try:
            await _hear(nudge)
        except psycopg.Error:
            log.warning("No NOTIFY from the database; pages follow by polling.")
        await asyncio.sleep(LISTEN_AGAIN)


async def _hear(nudge: asyncio.Event) -> None:
    """Listen on one connection until it ends. Raises ``psycopg.Error``."""
    import psycopg

    from core.events import NOTIFY_CHANNEL

    params = await database_sync_to_async(connection.get_connection_params)()
    allowed = {
        key: params[key]
        for key in ("host", "port", "user", "password", "dbname")
        if params.get(key)
    }
    async with await psycopg.AsyncConnection.connect(**allowed, autocommit=True) as link:
        await link.execute(f"LISTEN {NOTIFY_CHANNEL}")
        async for _ in link.notifies():
            nudge.set()


_tails: WeakKeyDictionary[asyncio.AbstractEventLoop, Tail] = WeakKeyDictionary()


def tail() -> Tail:
    """The tail of the running event loop."""
    return _tails.setdefault(asyncio.get_running_loop(), Tail())
