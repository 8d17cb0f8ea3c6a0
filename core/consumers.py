"""The socket behind every live page."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any
from urllib.parse import parse_qs

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth import get_user_model

from core.events import last_seq, since
from core.live import group_name, tail
from core.topics import registry

log = logging.getLogger("openclio.live")

MIN_INTERVAL = 0.25
"""Seconds between two messages to one page: at most four a second."""

RECHECK_SECONDS = 20.0
"""How often the right to watch is looked at again, so that a sign-out closes the socket."""

MAX_FRAME = 64 * 1024


class LiveConsumer(AsyncJsonWebsocketConsumer):
    """Sends changed fragments of one topic to one page.

    The page connects with the last event number it saw (``after``), so a reload, a second tab or
    a lost network misses nothing. Messages are ``{"seq", "html", ...}``.
    """

    topic: str = ""
    seq: int = 0

    async def connect(self) -> None:
        """Accept people who may see the topic; refuse everyone else."""
        query = parse_qs(self.scope.get("query_string", b"").decode("latin-1"))
        self.topic = query.get("topic", [""])[0][:120]
        after = query.get("after", ["0"])[0]
        self.seq = int(after) if after.isdigit() else 0
        self._wake = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        if not await self._allowed():
            await self.close(code=4403)
            return
        await self.accept()
        await self.channel_layer.group_add(group_name(self.topic), self.channel_name)
        tail().watch(self.topic)
        self._wake.set()
        self._sender = asyncio.create_task(self._send_loop())

    async def disconnect(self, code: int) -> None:
        """Stop following."""
        if self._sender is None:
            return
        self._sender.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._sender
        tail().unwatch(self.topic)
        await self.channel_layer.group_discard(group_name(self.topic), self.channel_name)

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        """Pages only listen; large frames close the socket, small ones are ignored."""
        if len(text_data or "") > MAX_FRAME or bytes_data:
            await self.close(code=1009)

    async def live_news(self, message: dict[str, Any]) -> None:
        """The tail saw a newer number."""
        if message["seq"] > self.seq:
            self._wake.set()

    async def _send_loop(self) -> None:
        checked = time.monotonic()
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), RECHECK_SECONDS)
            if time.monotonic() - checked > RECHECK_SECONDS:
                checked = time.monotonic()
                if not await self._allowed():
                    await self.close(code=4401)
                    return
            if self._wake.is_set():
                self._wake.clear()
                await self._send_news()
                await asyncio.sleep(MIN_INTERVAL)

    async def _send_news(self) -> None:
        try:
            message = await self._news()
        except Exception:
            log.exception("A live fragment could not be drawn.")
            return
        if message:
            await self.send_json(message)

    @database_sync_to_async
    def _allowed(self) -> bool:
        user = self.scope.get("user")
        check = registry.authorize(self.topic)
        if check is None or user is None or not user.is_authenticated:
            return False
        fresh = get_user_model()._default_manager.filter(pk=user.pk, is_active=True).exists()
        session = self.scope.get("session")
        alive = session is None or session.exists(session.session_key)
        return fresh and alive and check(user, self.topic.partition(":")[2])

    @database_sync_to_async
    def _news(self) -> dict[str, Any] | None:
        events = list(since(self.topic, self.seq))
        if not events:
            return None
        kinds = frozenset(event["kind"] for event in events)
        self.seq = max(events[-1]["seq"], last_seq(self.topic) if len(events) == 500 else 0)
        render = registry.renderer(self.topic)
        if render is None:
            return None
        return {"seq": self.seq, **render(self.scope["user"], self.topic.partition(":")[2], kinds)}
