"""How many calls at once a deployment is found to take."""

from __future__ import annotations

import math

START = 8
"""Calls at once before anything is known (RELIABILITY §3.3)."""

CUT_REFUSED = 0.5
CUT_LATE = 0.8
CUT_SLOW = 0.95
"""What remains after a refusal for too many calls, after time-outs, and of slow answers."""

CUT_EVERY = 1.0
"""Seconds between two cuts: calls that were out together fail together, and say one thing."""

JUDGED = 20
REFUSALS = 8
"""A cut is judged after so many outcomes, and after as many more as it takes that so many were
refused if it had not helped: else few refusals look like none by chance."""

KNOWN = 20
"""Outcomes before a cut from which the share of accepted calls is taken to be known."""

TAKEN_BACK = 0.4
"""Share of accepted calls under which no cut is taken back: most calls are refused, whyever."""

LATE_SHARE = 0.05
"""Share of calls that must time out to be taken for load. A single hang says nothing of it."""

SLOW_TIMES = 2.0
SLOW_SECONDS = 0.25
"""Answers count as slow at twice their usual time, when that is also so much longer."""


class Window:
    """Additive increase, multiplicative decrease, between 1 and ``most``.

    A cut that did not help is taken back: a provider that refuses a share of calls whatever comes
    would else bring the window to 1 and gain nothing by it. It is judged by the share of calls
    accepted since: had the load been the cause, that share would have grown as the load shrank.
    As many outcomes as calls were out at the cut say nothing of it and are left out.
    """

    def __init__(self, most: int, *, adapts: bool = True) -> None:
        self.most = max(1, most)
        self._adapts = adapts
        self._size = float(min(START, self.most))
        self._starting = True
        self._cut_at = float("-inf")
        self._before: tuple[float, float] | None = None
        self._accepted = 0.0
        self._lost = 0.0
        self._late = 0.0
        self._blind = 0.0
        self._older = 0
        self._usual: float | None = None
        self._recent: float | None = None

    @property
    def limit(self) -> int:
        """Calls at once, now."""
        if not self._adapts:
            return self.most
        return max(1, min(self.most, int(self._size)))

    @property
    def ramps(self) -> bool:
        """Whether it still doubles."""
        return self._adapts and self._starting and self._size < self.most

    def double(self) -> None:
        """Twice the room, while nothing was refused."""
        self._size = min(float(self.most), self._size * 2)

    def answered(self, latency: float, now: float, *, full: bool) -> None:
        """A call was answered; ``full``: the room was in use."""
        if self._older:
            self._older -= 1
        else:
            self._accepted += 1
        self._judge()
        if full and self._size < self.most:
            self._size = min(
                float(self.most), self._size + (1 if self._starting else 1 / self._size)
            )
        self._feel(latency, now)

    def refused(self, now: float) -> None:
        """The provider said that there were too many."""
        if self._older:
            self._older -= 1
            return
        self._lost += 1
        if self._judge() or self._is_blind() or self._is_open():
            return
        self._cut(CUT_REFUSED, now, 1.0)

    def timed_out(self, now: float) -> None:
        """The provider took too long for a call."""
        self._late += 1
        if self._late >= 2 and self._late >= LATE_SHARE * (
            self._accepted + self._lost + self._late
        ):
            self._cut(CUT_LATE, now, 1.0)

    def _cut(self, factor: float, now: float, floor: float) -> None:
        if now - self._cut_at < CUT_EVERY:
            return
        size = min(self._size, float(self.most))
        seen = self._accepted + self._lost
        known = factor == CUT_REFUSED and self._accepted > 0
        self._before = (size, self._accepted / seen) if known else None
        self._size = max(floor, size * factor)
        self._starting = False
        self._cut_at, self._older = now, int(size)
        self._accepted = self._lost = self._late = 0.0

    def _is_open(self) -> bool:
        """Whether too little is known to cut: of before the cut, or of what the last one did. When
        nothing is accepted, or less than before, nothing more need be known."""
        seen = self._accepted + self._lost
        if not self._accepted:
            return False
        if self._before is None:
            return seen < KNOWN
        share = self._before[1]
        return seen < self._needed(share) and not self._exceeds(1 - share, seen)

    def _exceeds(self, share: float, seen: float) -> bool:
        """Whether more were refused than chance makes of such a share: three standard deviations
        of a Poisson count."""
        expected = share * seen
        return self._lost > expected + 3 * math.sqrt(expected + 1)

    @staticmethod
    def _needed(before: float) -> float:
        """Outcomes for a judgement, when such a share was accepted before."""
        return max(JUDGED, REFUSALS / max(0.01, 1 - before))

    def _is_blind(self) -> bool:
        """Whether refusals come no more often than they do at any load."""
        seen = self._accepted + self._lost
        return self._blind > 0 and not self._exceeds(self._blind, seen)

    def _judge(self) -> bool:
        """Take a cut back that did not help; whether it was."""
        seen = self._accepted + self._lost
        if self._before is None:
            self._fade(seen)
            return False
        if seen < self._needed(self._before[1]):
            return False
        size, before = self._before
        self._before = None
        accepted = self._accepted / seen
        hoped = (before + min(1.0, before * size / self._size)) / 2
        self._blind = 0.0
        if not max(TAKEN_BACK, 0.75 * before) <= accepted < hoped:
            return False
        self._blind = max(1 - accepted, 1 - before)
        self._size, self._starting = max(self._size, size), True
        self._accepted = self._lost = self._late = 0.0
        return True

    def _fade(self, seen: float) -> None:
        """Let old outcomes count less, so that shares are of late."""
        if seen >= 10 * JUDGED:
            self._accepted, self._lost = self._accepted / 2, self._lost / 2
            self._late /= 2

    def _feel(self, latency: float, now: float) -> None:
        """Shrink a little while answers take far longer than usual, never to less than half."""
        if self._usual is None or self._recent is None:
            self._usual = self._recent = latency
            return
        self._recent += (latency - self._recent) / 16
        self._usual += (latency - self._usual) / (256 if latency > self._usual else 16)
        slow = self._recent > SLOW_TIMES * self._usual + SLOW_SECONDS
        floor = float(min(self.most, max(START, self.most // 2)))
        if slow and self._size > floor:
            self._cut(CUT_SLOW, now, floor)
