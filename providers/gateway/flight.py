"""Single flight: identical questions asked at once are answered by one call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Lets the first caller of a key work and the others share its outcome.

    When the first caller is cancelled, or fails in a way that is ``its_own``, one of the others
    takes over.
    """

    def __init__(self, its_own: Callable[[Exception], bool] = lambda error: False) -> None:
        self._its_own = its_own
        self._flights: dict[str, asyncio.Future[T]] = {}

    async def run(self, key: str, work: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        """The outcome of ``work`` and whether it was somebody else's. Errors are shared too."""
        while (flight := self._flights.get(key)) is not None:
            await asyncio.wait([flight])
            if not flight.cancelled():
                return flight.result(), True
        flight = asyncio.get_running_loop().create_future()
        self._flights[key] = flight
        try:
            outcome = await work()
        except asyncio.CancelledError:
            flight.cancel()
            raise
        except Exception as error:
            if self._its_own(error):
                flight.cancel()
                raise
            flight.set_exception(error)
            flight.exception()  # marks it as seen: often nobody else waits
            raise
        else:
            flight.set_result(outcome)
            return outcome, False
        finally:
            del self._flights[key]
