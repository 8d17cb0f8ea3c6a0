"""How long to wait for the first byte of an answer, learned from a deployment's own answers.

A server that hangs looks like a slow one until nobody else would have taken so long. The limit is
the 99th percentile of its late answers times a factor, as gRPC's and Envoy's guides advise for
per-try timeouts and Dean and Barroso ("The Tail at Scale", 2013) for deferring a second request.
When answers are cut off by the limit itself it doubles, as TCP's retransmission timer does (RFC
6298, 5.5), because what was cut off cannot teach how long it would have taken.
"""

from __future__ import annotations

from bisect import bisect_left

ENOUGH = 50
"""Answers of a size before anything is concluded from them."""

FACTOR = 3.0
"""Times the 99th percentile: a long prompt or a queue at the server is no hang."""

FLOOR = 5.0
"""Seconds; no limit is shorter until many answers of a size are known."""

MANY = 200
SHORT_FACTOR = 5.0
SHORT_FLOOR = 2.0
"""After so many answers the floor itself is learned: so many times the 99th percentile, and no
fewer seconds than that. A hang then costs a deployment that answers in a quarter of a second two
seconds and not five; a queue at the server may still make its answers five times as slow."""

FADE = 2_000
"""Answers after which the counts are halved, so that an old day's answers fade."""

LATE_SHARE = 0.03
"""Share of calls that must run into the limit before the limit itself is doubted. Fewer are hangs
of single calls."""

_STEPS = tuple(0.05 * 1.25**step for step in range(40))
"""Bounds of the histogram, 25 % apart: 0.05 s to 301 s. A percentile read from it is at most that
much too high, and never too low."""

LARGEST = 20
"""Sizes are told apart by powers of two up to this one."""


class _Size:
    """Answers of calls of about one size."""

    def __init__(self) -> None:
        self.counts = [0.0] * (len(_STEPS) + 1)
        self.total = 0.0
        self.late = 0.0
        self.patience = 1.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(_STEPS, seconds)] += 1
        self.total += 1
        self.patience = max(1.0, self.patience * 0.98)
        if self.total + self.late > FADE:
            self.counts = [one / 2 for one in self.counts]
            self.total, self.late = self.total / 2, self.late / 2

    def add_late(self) -> None:
        self.late += 1
        if self.late > LATE_SHARE * (self.total + self.late) and self.late > 1:
            self.patience = min(64.0, self.patience * 2)

    def usual(self) -> float:
        """Seconds after which nobody else's answer would still be out."""
        high, floor = self.high(), FLOOR
        if self.total >= MANY:
            floor = min(FLOOR, max(SHORT_FLOOR, SHORT_FACTOR * high))
        return max(floor, FACTOR * high)

    def high(self) -> float:
        """The 99th percentile."""
        seen, goal = 0.0, 0.99 * self.total
        for bound, count in zip(_STEPS, self.counts, strict=False):
            seen += count
            if seen >= goal:
                return bound
        return float("inf")


class Deadlines:
    """The first-byte limits of one deployment, by the size of the call (tokens in and out).

    Sizes are kept apart because a server that sends an answer in one piece takes as long for the
    first byte as for the last: what is long for a short answer is not for a long one.
    """

    def __init__(self, configured: float) -> None:
        self._configured = configured
        self._sizes: dict[int, _Size] = {}

    def answered(self, seconds: float, tokens: int) -> None:
        """An answer to a call of this size began after so long."""
        self._size(tokens).add(seconds)

    def late(self, tokens: int) -> None:
        """A call of this size ran into the limit."""
        self._size(tokens).add_late()

    def limit(self, tokens: int) -> float:
        """Seconds to wait for a call of this size, never more than configured."""
        size = self._sizes.get(_class_of(tokens))
        if size is None or size.total < ENOUGH:
            return self._configured
        return min(self._configured, size.usual() * size.patience)

    def _size(self, tokens: int) -> _Size:
        return self._sizes.setdefault(_class_of(tokens), _Size())


def _class_of(tokens: int) -> int:
    return min(LARGEST, max(0, tokens).bit_length())
