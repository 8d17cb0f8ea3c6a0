"""How much of a provider's limits a minute is left to this process.

A limit is kept twice at once. A token bucket (Turner 1986; the form of ITU-T I.371) spreads calls
over the minute, because servers that promise so many a minute count them over shorter spans: Azure
over 1 or 10 seconds, Anthropic 60 a minute perhaps as one a second. A count of the last 60 seconds
sees to it that the bucket's burst does not come on top of a minute's worth.
"""

from __future__ import annotations

from collections import deque

MINUTE = 60.0

BURST = 1 / 6
"""Share of a minute's limit that may go at once: 10 seconds' worth, Azure's longer span."""

INTERACTIVE = 0.1
"""Share of every limit that work nobody waits for leaves alone."""

SLOT = 0.5
"""Seconds whose amounts are counted as one."""


class Bucket:
    """What may still be taken of one limit. All times are seconds of the same clock.

    ``limit`` is per minute and for all processes together, ``None`` for none; ``share`` is this
    process's part of it. What the server says is left takes effect besides the own count, since
    others may use the same key. Every process may take one a minute, however small its part. An
    amount that is larger than the limit itself passes when nothing else was taken in the last
    minute: refusing it would hold it up for ever.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._configured = limit
        self._told_limit: int | None = None
        self._share = 1.0
        self._level = self._capacity
        self._at = 0.0
        self._slots: deque[list[float]] = deque()
        self._used = 0.0
        self._left: float | None = None
        self._left_at = 0.0
        self._whole_at = 0.0

    @property
    def limit(self) -> float | None:
        """What this process may take in a minute, ``None`` for any amount."""
        known = [one for one in (self._configured, self._told_limit) if one is not None]
        return max(1.0, min(known) * self._share) if known else None

    @property
    def _capacity(self) -> float:
        return max(1.0, (self.limit or 0.0) * BURST)

    def used(self, now: float) -> float:
        """What was taken in the last minute."""
        self._forget(now)
        return self._used

    def set_share(self, share: float) -> None:
        """Set this process's part of the limit, above 0 and at most 1."""
        self._share = min(1.0, max(0.001, share))
        self._level = min(self._level, self._capacity)

    def wait(self, amount: float, now: float, *, interactive: bool = False) -> float:
        """Seconds until so much may be taken, 0 for now. Asked again then, it may be more."""
        limit = self.limit
        if limit is None:
            return 0.0
        self._refill(now, limit)
        free = limit if interactive else min(limit, max(1.0, limit * (1 - INTERACTIVE)))
        return max(
            self._wait_for_minute(amount, now, free),
            self._wait_for_level(amount, limit, free),
            self._wait_for_server(amount, now, limit),
        )

    def take(self, amount: float, now: float) -> None:
        """Take it, whether there is room or not."""
        limit = self.limit
        if limit is not None:
            self._refill(now, limit)
            self._level = max(-self._capacity, self._level - amount)
        if self._left is not None:
            self._left -= amount
        self._count(amount, now)

    def correct(self, estimated: float, actual: float, taken_at: float) -> None:
        """Put right what was taken at a time by what it came to."""
        more = actual - estimated
        self._level = max(-self._capacity, min(self._capacity, self._level - more))
        if self._left is not None:
            self._left -= more
        for slot in self._slots:
            if slot[0] <= taken_at < slot[0] + SLOT:
                slot[1] += more
                self._used += more
                return

    def told(self, limit: int | None, left: int | None, reset: float | None, now: float) -> None:
        """What an answer's headers said: the limit a minute, what is left, seconds until whole."""
        if limit is not None and limit > 0:
            fresh = self.limit is None
            self._told_limit = limit
            if fresh:
                self._level, self._at = self._capacity, now
        if left is not None:
            self._left, self._left_at = max(0.0, left * self._share), now
            self._whole_at = now + min(MINUTE, MINUTE if reset is None else max(0.0, reset))

    def _count(self, amount: float, now: float) -> None:
        self._forget(now)
        if self._slots and now - self._slots[-1][0] < SLOT:
            self._slots[-1][1] += amount
        else:
            self._slots.append([now, amount])
        self._used += amount

    def _forget(self, now: float) -> None:
        """Let go of what was taken over a minute ago."""
        while self._slots and self._slots[0][0] <= now - MINUTE - SLOT:
            self._used -= self._slots.popleft()[1]
        if not self._slots:
            self._used = 0.0

    def _refill(self, now: float, limit: float) -> None:
        self._level = min(self._capacity, self._level + max(0.0, now - self._at) * limit / MINUTE)
        self._at = max(self._at, now)
        self._forget(now)

    def _wait_for_minute(self, amount: float, now: float, free: float) -> float:
        excess = self._used + min(amount, free) - free
        if excess <= 1e-6:
            return 0.0
        for start, part in self._slots:
            excess -= part
            if excess <= 1e-6:
                return max(0.01, start + MINUTE + SLOT - now)
        return SLOT

    def _wait_for_level(self, amount: float, limit: float, free: float) -> float:
        kept = self._capacity * (1 - free / limit)
        missing = kept + min(amount, self._capacity - kept) - self._level
        return 0.0 if missing <= 1e-6 else missing * MINUTE / limit

    def _wait_for_server(self, amount: float, now: float, limit: float) -> float:
        if self._left is None or now >= self._whole_at:
            self._left = None
            return 0.0
        left = self._left + (now - self._left_at) * limit / MINUTE
        if left >= min(amount, limit):
            return 0.0
        return min(self._whole_at - now, (min(amount, limit) - left) * MINUTE / limit)
