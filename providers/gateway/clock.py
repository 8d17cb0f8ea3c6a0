"""Time as the gateway sees it, and waiting that can be stopped."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from providers.gateway.errors import CallError, ErrorClass
from providers.gateway.types import CallScope

STOP_POLL = 0.2
"""How often a waiting call looks whether it was asked to stop, in seconds."""


class Clock(Protocol):
    """Time as the gateway sees it."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The real clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def check(scope: CallScope) -> None:
    """Raise :class:`CallError` when the call was asked to stop."""
    if scope.should_stop():
        raise CallError(ErrorClass.CANCELLED)


async def pause(clock: Clock, seconds: float, scope: CallScope) -> None:
    """Wait, unless the call is asked to stop: then :class:`CallError`."""
    until = clock.monotonic() + seconds
    while (left := until - clock.monotonic()) > 0:
        check(scope)
        await clock.sleep(min(left, STOP_POLL))
