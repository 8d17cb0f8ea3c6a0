"""How long a deployment asked to be left alone (Retry-After, RFC 9110, 10.2.3).

Some servers refuse whatever comes until then, some a share of calls whatever the load. Every call
that has a choice keeps away in both cases; one that has none waits only in the first.
"""

from __future__ import annotations

from providers.gateway.errors import ErrorClass, Fault

ALL_REFUSED = 8
"""So many refusals without an answer between them: it refuses whatever comes. Where a fifth of
calls is refused at random that happens once in 400,000."""

LONGEST = 120.0
"""Seconds after which it is asked again whatever it said, as after the longest rest of a breaker:
the limit may have been raised."""


class Told:
    """What one deployment asked for. Times are of one monotonic clock."""

    def __init__(self) -> None:
        self._since = self._until = float("-inf")
        self._refused = 0

    def failed(self, fault: Fault, now: float) -> None:
        """A call was refused, perhaps with the time to wait."""
        if fault.error_class is not ErrorClass.RATE_LIMIT:
            return
        self._refused += 1
        if fault.retry_after:
            self._since = now
            self._until = max(self._until, now + min(fault.retry_after, LONGEST))

    def answered(self, sent: float) -> None:
        """A call that was sent then was answered: after a refusal it takes that back."""
        self._refused = 0
        if sent > self._since:
            self._until = float("-inf")

    def left(self, now: float) -> float:
        """Seconds to keep away, 0 for none."""
        return max(0.0, self._until - now)

    def closed(self, now: float) -> float:
        """Seconds in which it refuses whatever comes, 0 for none."""
        return self.left(now) if self._refused >= ALL_REFUSED else 0.0
