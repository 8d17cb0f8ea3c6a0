"""The limits a minute that the scripted provider keeps, as real ones do: full again bit by bit."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Bucket:
    """So much a minute; it fills evenly and never holds more. A limit of 0 is none."""

    limit: int
    left: float
    at: float

    def wait(self, wanted: float, now: float) -> float:
        """Fill up to now; seconds until so much is there (at most a full bucket is waited for)."""
        if not self.limit:
            return 0.0
        rate = self.limit / 60
        self.left = min(float(self.limit), self.left + (now - self.at) * rate)
        self.at = now
        return max(0.0, (min(wanted, self.limit) - self.left) / rate)

    @property
    def reset(self) -> float:
        """Seconds until it is full."""
        return (self.limit - self.left) * 60 / self.limit


class Meter:
    """Counts requests and tokens of all callers together.

    ``clock`` gives seconds that only grow.
    """

    def __init__(
        self, requests: int, tokens: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        now = clock()
        self.requests = Bucket(requests, float(requests), now)
        self.tokens = Bucket(tokens, float(tokens), now)

    def take(self, tokens: int) -> float:
        """Let a request in, and give 0; or give the seconds until it may come, and count nothing.

        A request larger than the whole limit may come when nothing else was let in for a minute.
        """
        now = self._clock()
        wait = max(self.requests.wait(1, now), self.tokens.wait(tokens, now))
        if not wait:
            self.requests.left -= 1
            self.tokens.left -= tokens
        return wait

    def headers(self) -> dict[str, str]:
        """What is left, in OpenAI's headers ("Rate limits"); none where there are no limits."""
        found = {}
        for name, bucket in (("requests", self.requests), ("tokens", self.tokens)):
            if bucket.limit:
                found[f"x-ratelimit-limit-{name}"] = str(bucket.limit)
                found[f"x-ratelimit-remaining-{name}"] = str(max(0, int(bucket.left)))
                found[f"x-ratelimit-reset-{name}"] = f"{max(0.0, bucket.reset):.3f}s"
        return found
