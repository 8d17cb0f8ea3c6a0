"""The socket behind every live page."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter, deque
from typing import Any
from urllib.parse import parse_qs

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth import HASH_SESSION_KEY, get_user_model
from django.db import Error
from django.utils.crypto import constant_time_compare

from core.errors import Forbidden, NotFound
from core.events import is_pruned, last_seq, news
from core.live import group_name, tail
from core.topics import registry

log = logging.getLogger("openclio.live")

MIN_INTERVAL = 0.25
"""Seconds between two messages to one page: at most four a second."""

RECHECK_SECONDS = 20.0
"""How often the right to watch is looked at again, so that a sign-out closes the socket."""

RETRY_SECONDS = 2.0
"""Pause before a fragment that could not be drawn is tried again."""

MAX_FRAME = 64 * 1024
"""Characters of one message from a page; pages have nothing to say."""

MAX_FRAMES = 100
"""Messages from one page in :data:`FRAME_WINDOW` seconds."""

FRAME_WINDOW = 60.0

MAX_SOCKETS = 20
"""Open sockets of one person in this process."""

MAX_DIGITS = 18
"""Longer numbers fit no column."""

_open: Counter[Any] = Counter()
"""Open sockets by person, in this process."""


def number_of(text: str) -> int:
    """A number as a page sends it; 0 for anything else."""
    plain = text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS
    return int(text) if plain else 0


class LiveConsumer(AsyncJsonWebsocketConsumer):
    """Sends changed fragments of one topic to one page.

    The page connects with the last event number it saw (``after``), so a reload, a second tab or
    a lost network misses nothing. Messages are ``{"seq", "html", ...}``, or
    ``{"seq", "resync": true}`` when what it missed is no longer kept: then it loads itself anew.
    """

    topic: str = ""
    seq: int = 0

    async def connect(self) -> None:
        """Accept people who may see the topic; refuse everyone else."""
        query = parse_qs(self.scope.get("query_string", b"").decode("latin-1"))
        self.topic = query.get("topic", [""])[0][:120]
        after = query.get("after", ["0"])[0]
        self.seq = number_of(after)
        self._wake = asyncio.Event()
        self._frames: deque[float] = deque(maxlen=MAX_FRAMES)
        self._sender: asyncio.Task[None] | None = None
        if not await database_sync_to_async(self._allowed)():
            await self.close(code=4403)
            return
        self._person = self.scope["user"].pk
        if _open[self._person] >= MAX_SOCKETS:
            await self.close(code=4429)
            return
        _open[self._person] += 1
        await self.accept()
        await self.channel_layer.group_add(group_name(self.topic), self.channel_name)
        tail().watch(self.topic)
        self._wake.set()
        self._sender = asyncio.create_task(self._send_loop())

    async def disconnect(self, code: int) -> None:
        """Stop following."""
        if self._sender is None:
            return
        _open[self._person] -= 1
        self._sender.cancel()
        await asyncio.gather(self._sender, return_exceptions=True)
        tail().unwatch(self.topic)
        await self.channel_layer.group_discard(group_name(self.topic), self.channel_name)

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        """Pages only listen; large or many frames close the socket, a few small ones pass."""
        if len(text_data or "") > MAX_FRAME or bytes_data:
            await self.close(code=1009)
            return
        now = time.monotonic()
        if len(self._frames) == MAX_FRAMES and now - self._frames[0] < FRAME_WINDOW:
            await self.close(code=1008)
            return
        self._frames.append(now)

    async def live_news(self, message: dict[str, Any]) -> None:
        """The tail saw another number; a lower one after a backup was restored."""
        if message["seq"] != self.seq:
            self._wake.set()

    async def _send_loop(self) -> None:
        checked = time.monotonic()
        while True:
            left = checked + RECHECK_SECONDS - time.monotonic()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(0.0, left))
            if time.monotonic() - checked >= RECHECK_SECONDS:
                checked = time.monotonic()
                if not await self._still_allowed():
                    await self.close(code=4401)
                    return
            if self._wake.is_set():
                self._wake.clear()
                await self._send_news()
                await asyncio.sleep(MIN_INTERVAL)

    async def _still_allowed(self) -> bool:
        """The right to watch; as before while the database cannot say, and shows nothing new."""
        try:
            return bool(await database_sync_to_async(self._allowed)())
        except Error:
            log.warning("The right to watch could not be looked at; it is asked again.")
            return True

    async def _send_news(self) -> None:
        try:
            message: dict[str, Any] | None = await database_sync_to_async(self._news)()
        except (NotFound, Forbidden):
            await self.close(code=4401)
            return
        except Error:
            log.warning("A live fragment could not be read; it is tried again.")
            await self._again()
            return
        except Exception:
            log.exception("A live fragment could not be drawn; it is tried again.")
            await self._again()
            return
        if message:
            self.seq = message["seq"]
            await self.send_json(message)

    async def _again(self) -> None:
        self._wake.set()
        await asyncio.sleep(RETRY_SECONDS)

    def _allowed(self) -> bool:
        user = self.scope.get("user")
        check = registry.authorize(self.topic)
        if check is None or user is None or not user.is_authenticated:
            return False
        fresh = get_user_model()._default_manager.filter(pk=user.pk, is_active=True).first()
        if fresh is None or not _session_lives(self.scope.get("session"), fresh):
            return False
        return check(fresh, self.topic.partition(":")[2])

    def _news(self) -> dict[str, Any] | None:
        if is_pruned(self.topic, self.seq):
            return {"seq": last_seq(self.topic), "resync": True}
        seq, kinds = news(self.topic, self.seq)
        render = registry.renderer(self.topic)
        if not kinds or render is None:
            return None
        return {"seq": seq, **render(self.scope["user"], self.topic.partition(":")[2], kinds)}


def _session_lives(session: Any, user: Any) -> bool:
    """Whether the sign-in behind a socket still holds: not signed out, password unchanged."""
    if session is None:
        return True
    if not session.exists(session.session_key):
        return False
    known = session.get(HASH_SESSION_KEY, "")
    return bool(constant_time_compare(known, user.get_session_auth_hash()))
