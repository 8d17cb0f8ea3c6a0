"""When a model is left alone, and when it is tried again.

A breaker per deployment, as a pure state machine: it is told outcomes and the time, and says
whether the next call may pass. What it decides becomes a :class:`Change` for the other processes,
what they decided is learned by :meth:`Breaker.learn`; the higher version is right.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, replace
from enum import Enum

from providers.gateway.errors import ErrorClass, Fault, is_outage
from providers.gateway.health import Change, Health, State

DISABLING = frozenset(
    {ErrorClass.QUOTA, ErrorClass.AUTH, ErrorClass.PERMISSION, ErrorClass.NOT_FOUND}
)
"""Classes after which the next call would fail alike until somebody does something."""

MOST_OPENS = 30
"""Openings in a row are counted up to here; rests have reached their longest long before."""

LOOK_AGAIN = 1.0
"""Seconds before the right to try is asked for again when another process had it."""


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens and for how long, in calls and seconds.

    ``consecutive`` failures, or a share of ``window_share`` of at least ``window_calls`` calls
    within ``window`` open it (five in a row: Envoy's outlier detection, ``consecutive_5xx``; a
    share of at least ten calls: resilience4j's sliding window). The share counts only with
    ``window_run`` failures in a row: who looks for the one text that trips a server asks for parts
    of it, with other questions answered in between. It rests ``rest`` ·
    ``growth`` ^ openings up to ``longest_rest``, spread by ``jitter`` so that processes do not
    return as one; ``successes`` in a row close it. Where a person has to act, as after a refused
    key, it rests ``disabled_rest`` instead, up to ``disabled_longest``. A storm is
    ``storm_share`` of at least ``storm_calls`` answers that call the request bad: an Azure region
    answered sound requests so for 20 hours.
    """

    consecutive: int = 5
    window: float = 30.0
    window_calls: int = 10
    window_share: float = 0.5
    window_run: int = 2
    rest: float = 10.0
    growth: float = 1.5
    longest_rest: float = 120.0
    jitter: float = 0.1
    disabled_rest: float = 60.0
    disabled_longest: float = 900.0
    successes: int = 2
    storm_calls: int = 20
    storm_share: float = 0.5


class Pass(Enum):
    """What a call finds: way is ``FREE``; it may ``TAKE`` the right to try; holding the right,
    this process may ``TRY``; somebody tries, ``WAIT`` for the outcome; it has to ``REST``."""

    FREE = "free"
    TAKE = "take"
    TRY = "try"
    WAIT = "wait"
    REST = "rest"


class Breaker:
    """The breaker of one deployment as one process sees it. Times are of one monotonic clock."""

    def __init__(self, policy: BreakerPolicy, rng: random.Random) -> None:
        self._policy = policy
        self._rng = rng
        self._health = Health()
        self._until = 0.0
        self._mine = self._out = False
        self._good = 0
        self._run = 0
        self._recent: deque[tuple[float, bool]] = deque()
        self._bad = 0
        self._refusals: deque[bool] = deque(maxlen=policy.storm_calls)
        self._answered = self._storm = False
        self._change: Change | None = None
        self._sent: Change | None = None

    @property
    def state(self) -> State:
        """The state without regard to time: an open breaker stays open until it is tried."""
        return self._health.state

    def health(self, now: float) -> Health:
        """The state with the seconds until the next call may try it."""
        wait = max(0.0, self._until - now) if self.state != "closed" else 0.0
        if self._out:
            wait = max(wait, LOOK_AGAIN)
        return replace(self._health, wait=wait)

    def passes(self, now: float) -> Pass:
        """Whether a call may go now."""
        if self.state == "closed":
            return Pass.FREE
        if self.state == "rested":
            return Pass.REST
        if self._out:
            return Pass.WAIT
        if self._mine:
            return Pass.TRY
        if now >= self._until:
            return Pass.TAKE
        return Pass.WAIT if self.state == "half_open" else Pass.REST

    @property
    def storm(self) -> bool:
        """Whether, at the last failure, so many requests were called bad that the server is to
        blame."""
        return self._storm

    def _stormy(self) -> bool:
        seen, share = len(self._refusals), self._policy.storm_share
        return seen >= self._policy.storm_calls and sum(self._refusals) >= share * seen

    # The right to try

    def reach(self) -> None:
        """Somebody of this process asks for the right to try, or tries: others wait."""
        self._out = True

    def granted(self, now: float, health: Health | None = None) -> None:
        """The right is this process's, and the call that asked for it tries now. ``health`` is the
        new shared state, if there is one."""
        self._mine, self._out, self._good = True, True, 0
        version = health.version if health else self._health.version
        self._health = replace(self._health, state="half_open", version=version)
        self._until = now

    def denied(self, now: float, wait: float = LOOK_AGAIN) -> None:
        """Another process has the right, or it was not to be had."""
        self._out = False
        self._health = replace(self._health, state="half_open")
        self._until = max(self._until, now + wait)

    def released(self) -> None:
        """The trying call ended without saying anything about the model."""
        self._out = False

    def surrender(self, now: float) -> None:
        """This process ends: whoever comes next may try at once."""
        if self._mine and self.state == "half_open":
            old = self._health
            self._turn(now, "open", old.reason, old.detail, opens=old.opens, rest=0.0)

    # Outcomes

    def succeeded(self, now: float, *, trial: bool = False) -> None:
        """A call was answered. ``trial``: it was the one that tried a resting model."""
        self._answered = True
        self._refusals.append(False)
        if self.state == "closed":
            self._run = 0
            self._note(now, good=True)
        elif trial and self._mine:
            self._out = False
            self._good += 1
            if self._good >= self._policy.successes:
                self._turn(now, "closed", "", "", opens=0, rest=0.0)

    def failed(
        self,
        now: float,
        fault: Fault,
        *,
        trial: bool = False,
        again: bool = False,
    ) -> None:
        """An attempt failed.

        ``again``: it was a further attempt of one call, which says as much about the call as
        about the model, and is not counted: one text that trips a server does not keep the
        others from it.
        """
        if fault.error_class is ErrorClass.BAD_REQUEST:
            self._refusals.append(True)
        self._storm = self._stormy()
        if self.state == "closed":
            self._failed_closed(now, fault, again)
        elif trial and self._mine:
            if self._lasting(fault) or self._counts(fault):
                self._open(now, fault)
            else:
                self.released()

    def _failed_closed(self, now: float, fault: Fault, again: bool) -> None:
        if self._lasting(fault):
            self._open(now, fault)
        elif self._counts(fault) and not again:
            self._run += 1
            self._note(now, good=False)
            if self._run >= self._policy.consecutive or self._mostly_bad():
                self._open(now, fault)

    def _lasting(self, fault: Fault) -> bool:
        if fault.error_class is ErrorClass.NOT_FOUND and self._answered:
            return False  # it knew the model a moment ago: a router that lost its way
        return fault.error_class in DISABLING and not fault.unsure

    def _counts(self, fault: Fault) -> bool:
        """Whether a failure speaks of the model. A 429 that names no cause may be its quota."""
        stormy = fault.error_class is ErrorClass.BAD_REQUEST and self._storm
        return is_outage(fault.error_class) or fault.unsure or stormy

    def _note(self, now: float, *, good: bool) -> None:
        self._recent.append((now, good))
        self._bad += not good
        while self._recent[0][0] < now - self._policy.window:
            self._bad -= not self._recent.popleft()[1]

    def _mostly_bad(self) -> bool:
        policy, seen = self._policy, len(self._recent)
        if self._run < policy.window_run or seen < policy.window_calls:
            return False
        return self._bad >= policy.window_share * seen

    def _open(self, now: float, fault: Fault) -> None:
        rest = self._disabled(fault) if self._lasting(fault) else self._rest()
        opens = min(self._health.opens + 1, MOST_OPENS)
        self._turn(now, "open", fault.error_class.value, fault.detail, opens=opens, rest=rest)

    def _rest(self) -> float:
        policy = self._policy
        rest = min(policy.longest_rest, policy.rest * policy.growth**self._health.opens)
        return rest * self._rng.uniform(1 - policy.jitter, 1 + policy.jitter)

    def _disabled(self, fault: Fault) -> float:
        policy = self._policy
        grown = policy.disabled_rest * policy.growth**self._health.opens
        told = fault.retry_after
        return min(policy.disabled_longest, grown if told is None else told)

    def _turn(
        self, now: float, state: State, reason: str, detail: str, *, opens: int, rest: float
    ) -> None:
        self._health = replace(self._health, state=state, reason=reason, detail=detail, opens=opens)
        self._change = Change(
            deployment="",
            version=self._health.version,
            state=state,
            reason=reason,
            detail=detail,
            opens=opens,
            wait=rest,
        )
        self._until = now + rest
        self._reset()

    def _reset(self) -> None:
        self._mine = self._out = False
        self._good = self._run = self._bad = 0
        self._recent.clear()
        self._refusals.clear()

    # Other processes

    @property
    def pending(self) -> bool:
        """Whether something was decided here that the others do not know."""
        return self._change is not None

    def tell(self) -> Change | None:
        """What was decided here and the others do not know; its wait counts from the decision."""
        self._sent, self._change = self._change, None
        return self._sent

    def untold(self) -> None:
        """The others could not be told: it is still to be done."""
        self._change = self._change or self._sent
        self._sent = None

    def learn(self, health: Health, now: float) -> None:
        """Take over what all processes together know, unless it is known already.

        A change that was decided here is dropped when others had changed the state before.
        """
        sent, self._sent = self._sent, None
        if health.version == self._health.version:
            self._refresh(health)
        elif sent is not None and (health.version, health.state) == (sent.version + 1, sent.state):
            self._took_effect(health)
        else:
            self._health, self._change = health, None
            self._reset()
            self._until = now + max(health.wait, LOOK_AGAIN if health.state == "half_open" else 0)

    def _refresh(self, health: Health) -> None:
        now = self._health
        self._health = replace(
            health, state=now.state, reason=now.reason, detail=now.detail, opens=now.opens
        )

    def _took_effect(self, health: Health) -> None:
        if self._change is None:
            self._health = health
        else:  # decided again while the others were being told
            self._change = replace(self._change, version=health.version)
            self._health = replace(self._health, version=health.version)
