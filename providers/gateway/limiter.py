"""How many calls one deployment may have in flight."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType


def _nothing() -> None:
    """Default of what is told of a wait."""


class Limiter:
    """A semaphore, first come first served, that can be resized while in use.

    Shrinking lets the calls in flight finish; growing admits waiting ones at once. ``on_wait`` is
    called whenever one has to wait.
    """

    def __init__(self, size: int, on_wait: Callable[[], None] = _nothing) -> None:
        self._size = max(1, size)
        self._active = 0
        self._on_wait = on_wait
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def size(self) -> int:
        """The most calls in flight."""
        return self._size

    @property
    def active(self) -> int:
        """The calls in flight now."""
        return self._active

    @property
    def waiting(self) -> int:
        """The calls that wait for room."""
        return len(self._queue)

    def resize(self, size: int) -> None:
        """Set the most calls in flight, at least 1."""
        self._size = max(1, size)
        self._admit()

    async def __aenter__(self) -> None:
        if self._active < self._size and not self._queue:
            self._active += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        self._on_wait()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        self._active -= 1
        self._admit()

    def _admit(self) -> None:
        while self._queue and self._active < self._size:
            turn = self._queue.popleft()
            if not turn.done():
                self._active += 1
                turn.set_result(None)
