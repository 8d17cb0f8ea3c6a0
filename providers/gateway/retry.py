"""Whether, and after how long, a failed attempt is made again."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

from providers.gateway.errors import TRAITS, ErrorClass, Fault


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Limits in seconds.

    Full jitter (Brooker, "Exponential backoff and jitter", AWS 2015): U(0, min(``ceiling``,
    ``base`` · 2ⁿ)). A Retry-After is a floor plus U(0, 10 %); one above ``longest_wait`` is not
    waited for. ``total`` bounds all attempts of one call. Where a person waits, there are at most
    ``waited_attempts`` on one target and pauses of ``waited_pause`` (RELIABILITY §3.2). Further attempts at a provider are at
    most ``budget_share`` of its calls and ``budget_rate`` a second, up to ``budget_most`` saved
    (Finagle, ``RetryBudget``: 20 % and a floor): a provider that is down is not hammered.
    A call that timed out gets ``answering`` more attempts, without ever longer pauses, where
    others are answered meanwhile: then it met hangs of single calls, not a provider that hangs.
    """

    base: float = 0.5
    ceiling: float = 20.0
    longest_wait: float = 60.0
    total: float = 180.0
    waited_attempts: int = 2
    waited_pause: float = 5.0
    budget_share: float = 0.2
    budget_rate: float = 1.0
    budget_most: float = 30.0
    answering: int = 2

    def longest_of(self, interactive: bool) -> float:
        """The longest wait of a call for room; ``interactive``: a person waits for it."""
        return self.waited_pause if interactive else self.longest_wait


@dataclass(slots=True)
class Attempts:
    """The attempts of one call on one target so far. ``began`` is when its first attempt on any
    target did, ``None`` when that was here."""

    policy: RetryPolicy
    rng: random.Random
    started: float
    began: float | None = None
    interactive: bool = False
    count: int = 0
    by_class: Counter[ErrorClass] = field(default_factory=Counter)

    def delay(self, fault: Fault, now: float, *, answering: bool = False) -> float | None:
        """Seconds to wait before the next attempt, or ``None`` to give up on this target.
        ``answering``: it answered another call since this one's first attempt began.

        A 429 that names neither limit nor quota is waited for like a rate limit; what it was is
        decided by whether the deployment answers anything meanwhile.
        """
        self.count += 1
        error_class = ErrorClass.RATE_LIMIT if fault.unsure else fault.error_class
        self.by_class[error_class] += 1
        most = TRAITS[error_class].attempts
        hung = answering and error_class is ErrorClass.TIMEOUT
        if hung:
            most += self.policy.answering
        if self.by_class[error_class] >= most:
            return None
        wait = self._wait(fault, 0 if hung else self.by_class[error_class] - 1)
        began = self.started if self.began is None else self.began
        if wait is None or now + wait - began > self.policy.total:
            return None
        return None if self.interactive and self._too_long(wait) else wait

    def _too_long(self, wait: float) -> bool:
        """For a person who waits."""
        return self.count >= self.policy.waited_attempts or wait > self.policy.waited_pause

    def _wait(self, fault: Fault, retry: int) -> float | None:
        told = told_wait(fault)
        if told is not None:
            if told > self.policy.longest_wait:
                return None
            return told + self.rng.uniform(0, 0.1 * told)
        return self.rng.uniform(0, min(self.policy.ceiling, self.policy.base * 2**retry))


def told_wait(fault: Fault) -> float | None:
    """Seconds the provider asked us to wait (Retry-After), ``None`` when it did not say."""
    return fault.retry_after


@dataclass(slots=True)
class _Budget:
    left: float
    at: float


class Budgets:
    """How many further attempts each provider still gets."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._budgets: dict[str, _Budget] = {}

    def called(self, provider: str, now: float) -> None:
        """Count a call."""
        self._add(provider, now, self._policy.budget_share)

    def take(self, provider: str, now: float) -> bool:
        """Use one further attempt, if there is one left."""
        budget = self._add(provider, now, 0.0)
        if budget.left < 1:
            return False
        budget.left -= 1
        return True

    def _add(self, provider: str, now: float, share: float) -> _Budget:
        policy = self._policy
        budget = self._budgets.get(provider)
        if budget is None:
            budget = self._budgets[provider] = _Budget(policy.budget_most, now)
        budget.left += share + policy.budget_rate * (now - budget.at)
        budget.left = min(policy.budget_most, budget.left)
        budget.at = now
        return budget
