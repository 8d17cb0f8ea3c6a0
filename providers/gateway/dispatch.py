"""One journalled request along a route: targets, attempts, waits.

A call goes on to the next healthy target after its first failure. Only on the last one it is made
again, after a pause; a target that rests is passed over, so that once a breaker opened nobody pays
for its failure any more.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from providers.gateway.board import Board, Watch
from providers.gateway.breaker import Pass
from providers.gateway.clock import STOP_POLL, Clock, SystemClock, pause
from providers.gateway.errors import TRAITS, CallError, CutOff, ErrorClass, Fault, is_outage
from providers.gateway.journal import Journal, JournalRow
from providers.gateway.retry import Attempts, Budgets, RetryPolicy
from providers.gateway.sending import (
    SETTLE_SECONDS,
    SLOT_SECONDS,
    Job,
    Reply,
    Sender,
    Sent,
    replayed_row,
)
from providers.gateway.strategy import Choice, Needs, Skipped, Turns, choose, nobody_error
from providers.gateway.types import CallScope, Deployment, Route, Secret

__all__ = ["Clock", "Dispatcher", "Done", "Job", "SystemClock"]

T = TypeVar("T", bound=Reply)

OUTAGE_CALLS = 10
"""So many calls in a row that exhausted their attempts make a provider's fault fatal."""

VERDICT_SECONDS = 30.0
"""Longest that a call with no other target waits for the outcome of somebody else's trial."""

KEY_CLASSES = frozenset({ErrorClass.AUTH, ErrorClass.QUOTA, ErrorClass.PERMISSION})
"""Classes for which the spare key is tried: they are about the key, not the model."""


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """A reply, committed to the journal, and where it came from.

    ``replayed``: nothing was paid. ``failures`` are attempts that failed before. ``hedged``: a
    second target was asked meanwhile, which may have cost up to ``extra`` US dollars.
    """

    target: Deployment
    reply: T
    row: JournalRow
    replayed: bool = False
    failures: int = 0
    hedged: bool = False
    extra: float | None = 0.0


@dataclass(slots=True)
class Course(Generic[T]):
    """One call on its way.

    ``line`` are the targets that may still be asked, in order; ``None`` before the first. ``tries``
    are its attempts by target, ``failures`` all that failed, the last one on ``failed`` at
    ``failed_at``. ``waited`` is how long it waited for the outcome of somebody else's trial,
    ``kept_away`` that it waited as a target had told others to.
    """

    job: Job[T]
    scope: CallScope
    route: Route
    line: tuple[Deployment, ...] | None = None
    tries: dict[str, Attempts] = field(default_factory=dict)
    error: CallError | None = None
    failed: Deployment | None = None
    failed_at: float = 0.0
    failures: int = 0
    waited: float = 0.0
    kept_away: bool = False


class Dispatcher:
    """Sends jobs along routes. One per gateway."""

    def __init__(
        self,
        journal: Journal,
        board: Board,
        policy: RetryPolicy,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self.sender = Sender(journal, board, clock)
        self._board = board
        self._policy = policy
        self._clock = clock
        self._rng = rng
        self._turns = Turns()
        self._budgets = Budgets(policy)
        self._refused_keys: dict[str, Secret] = {}
        self.pausing = 0

    async def run(self, job: Job[T], route: Route, scope: CallScope) -> Done[T]:
        """Send along the route.

        Raises :class:`CallError` with the last target's class when none answered; when none is to
        be called at present it says in how many seconds one is.
        """
        await self._board.enter(scope.owner, route.targets)
        try:
            return await self.along(Course(job, scope, route))
        finally:
            self._board.leave()

    async def along(self, course: Course[T]) -> Done[T]:
        """Go on until a target answered or none is left."""
        while True:
            target, trial = await self.next_target(course)
            sent = await self._attempt(course, target, trial)
            if sent is None:
                continue
            if not isinstance(sent.outcome, Fault):
                return await self._done(course, target, sent, sent.outcome)
            await self.after_fault(course, target, sent.outcome)

    def in_line(self, route: Route, needs: Needs) -> Route:
        """The route with its targets in the order of the moment, for calls that belong together
        and should be answered by one model."""
        if route.strategy == "priority":
            return route
        choice = self._chosen(route, needs)
        line = choice.order + tuple(one.target for one in choice.skipped)
        return replace(route, targets=line, strategy="priority", weights=())

    # Which target

    async def next_target(self, course: Course[T]) -> tuple[Deployment, bool]:
        """Whom to ask, and whether that tries a resting target. Raises when there is nobody."""
        while True:
            choice = self._choice(course)
            if not choice.order:
                await self._nobody(course, choice.skipped)
                continue
            target = choice.order[0]
            if await self._kept_away(course, target):
                continue
            breaker = self._board.watch(target).breaker
            if target.batched or breaker.passes(self._clock.monotonic()) is Pass.FREE:
                return target, False
            if await self._board.take_right(target):
                return target, True

    def line_up(self, course: Course[T]) -> tuple[Deployment, ...]:
        """Line the targets up for a call; those that may be asked now, in order."""
        return self._choice(course).order

    def _choice(self, course: Course[T]) -> Choice:
        """The order that the route's strategy gave at first, less those that rest by now."""
        if course.line is None:
            choice = self._chosen(course.route, course.job.needs)
            course.line = choice.order + tuple(one.target for one in choice.skipped)
        else:
            states = self._board.states(course.line)
            choice = choose(Route(course.line), states, course.job.needs)
        return self._told_last(course.job.needs, choice)

    def _told_last(self, needs: Needs, choice: Choice) -> Choice:
        """Targets that asked to be left alone for now come after the others. For vectors they
        keep their place: those of two models cannot be compared."""
        if len(choice.order) < 2 or needs.embeddings:
            return choice
        now = self._clock.monotonic()
        order = sorted(choice.order, key=lambda one: self._board.watch(one).told.left(now) > 0)
        return replace(choice, order=tuple(order))

    async def _kept_away(self, course: Course[T], target: Deployment) -> bool:
        """Wait, once, with a call that was not sent yet while its target refuses everything."""
        left = self._board.watch(target).told.closed(self._clock.monotonic())
        longest = self._policy.longest_of(course.job.interactive)
        if course.failures or course.kept_away or not 0 < left <= longest:
            return False
        course.kept_away = True
        await pause(self._clock, left + self._rng.uniform(0, 0.1 * left), course.scope)
        return True

    def _chosen(self, route: Route, needs: Needs) -> Choice:
        simple = route.strategy == "priority" or len(route.targets) == 1
        return choose(
            route,
            self._board.states(route.targets),
            needs,
            loads=None if simple else self._board.loads(route.targets),
            turns=self._turns,
            rng=self._rng,
        )

    async def _nobody(self, course: Course[T], skipped: Sequence[Skipped]) -> None:
        """Raise, unless somebody finds out at this moment whether a target is back."""
        if course.error is not None:
            raise course.error
        now = self._clock.monotonic()
        soon = any(
            self._board.watch(one.target).breaker.passes(now) is Pass.WAIT for one in skipped
        )
        if not soon or course.waited >= VERDICT_SECONDS:
            raise nobody_error(skipped)
        course.waited += STOP_POLL
        await pause(self._clock, STOP_POLL, course.scope)

    # One attempt

    async def _attempt(self, course: Course[T], target: Deployment, trial: bool) -> Sent[T] | None:
        """``None`` when the target came to rest before anything was sent."""
        breaker = self._board.watch(target).breaker
        sent: Sent[T] | None = None
        try:
            sent = await self.sender.send(
                self.keyed(target), course.job, self.row(course, target), course.scope, trial
            )
        except CutOff as cut:
            self.fault_seen(course, target, cut.fault, trial, again=False)
            raise
        finally:
            if trial and (sent is None or sent.stored is not None):
                breaker.released()
        if sent is None:
            return None
        now = self._clock.monotonic()
        attempts = self.attempts(course, target, sent.at)
        if isinstance(sent.outcome, Fault):
            self._note_fault(course, target, sent, sent.outcome, trial, again=attempts.count > 0)
        elif sent.stored is None:
            breaker.succeeded(now, trial=trial)
        return sent

    def row(self, course: Course[T], target: Deployment) -> JournalRow:
        """The intent of the next attempt."""
        attempts = course.tries.get(target.id)
        return replace(
            course.job.row(target),
            open_for=target.timeouts.total + SLOT_SECONDS + SETTLE_SECONDS,
            attempt=attempts.count + 1 if attempts else 1,
        )

    def attempts(self, course: Course[T], target: Deployment, at: float) -> Attempts:
        """The attempts on a target, the first of which is counted as begun now."""
        known = course.tries.get(target.id)
        if known is None:
            self._budgets.called(target.provider, at)
            started = min((one.started for one in course.tries.values()), default=at)
            known = Attempts(self._policy, self._rng, at, started, course.job.interactive)
            course.tries[target.id] = known
        return known

    def keyed(self, target: Deployment) -> Deployment:
        """The target with the key that is not known to be refused."""
        if target.spare_key and self._refused_keys.get(target.id) == target.api_key:
            return replace(target, api_key=target.spare_key)
        return target

    def _note_fault(
        self,
        course: Course[T],
        target: Deployment,
        sent: Sent[T],
        fault: Fault,
        trial: bool,
        *,
        again: bool,
    ) -> None:
        now = self._clock.monotonic()
        self.sender.note_failure(target, sent.row, fault, int(1000 * (now - sent.at)))
        self.fault_seen(course, target, fault, trial, again)

    def fault_seen(
        self, course: Course[T], target: Deployment, fault: Fault, trial: bool, again: bool
    ) -> None:
        """Tell the counters and the breaker of a failed attempt; a key that has a spare one is
        put aside first, which says nothing about the target."""
        watch = self._board.watch(target)
        course.failures += 1
        course.failed, course.failed_at = target, self._clock.monotonic()
        watch.met(fault, course.failed_at)
        if self._has_spare(target, fault):
            if trial:
                watch.breaker.released()
        elif not target.batched:
            watch.breaker.failed(course.failed_at, fault, trial=trial, again=again)

    def _has_spare(self, target: Deployment, fault: Fault) -> bool:
        """Whether the other key is still to be tried."""
        fresh = self._refused_keys.get(target.id) != target.api_key
        return bool(target.spare_key) and fault.error_class in KEY_CLASSES and fresh

    async def _done(
        self, course: Course[T], target: Deployment, sent: Sent[T], reply: T
    ) -> Done[T]:
        if sent.stored is not None:
            row = replayed_row(sent.row, sent.stored)
            return Done(target, reply, row, replayed=True, failures=course.failures)
        latency = self._clock.monotonic() - sent.at
        self.answer_seen(course, target, reply, latency)
        row = await self.sender.settle(target, course.job, sent.row, reply, int(1000 * latency))
        return Done(target, reply, row, failures=course.failures)

    def answer_seen(self, course: Course[T], target: Deployment, reply: T, latency: float) -> None:
        """Count an answer, and where the call came from if another target failed it."""
        now = self._clock.monotonic()
        watch = self._board.watch(target)
        used = reply.tokens_in + reply.tokens_out
        watch.answered(now, latency, used, recovered=course.failures > 0)
        watch.read(reply.quota)
        if course.failed is not None and course.failed.id != target.id:
            switch = int(1000 * max(0.0, now - latency - course.failed_at))
            self._board.watch(course.failed).went_elsewhere(
                course.scope.session, target.provider, switch
            )

    # After a failure

    async def after_fault(self, course: Course[T], target: Deployment, fault: Fault) -> None:
        """Return when the next attempt is due, here or elsewhere; raise when none is."""
        if self._has_spare(target, fault):
            self._refused_keys[target.id] = target.api_key
            return
        watch, attempts = self._board.watch(target), course.tries[target.id]
        fault = self._storm(watch, fault)
        answering = watch.answered_at >= attempts.started
        delay = attempts.delay(fault, self._clock.monotonic(), answering=answering)
        traits = TRAITS[fault.error_class]
        others = self._others(course, target)
        if not traits.elsewhere:
            raise self._give_up(course, target, fault, attempts)
        if any(watch.breaker.state == "closed" for watch in others):
            delay = None
        elif delay is not None:
            delay = self._affordable(target, fault, delay)
        if delay is None or self.sender.rests(target):
            course.error = self._give_up(course, target, fault, attempts)
            course.line = tuple(one for one in course.line or () if one.id != target.id)
            return
        self.pausing += 1
        try:
            await pause(self._clock, delay, course.scope)
        finally:
            self.pausing -= 1

    def _storm(self, watch: Watch, fault: Fault) -> Fault:
        """A refusal as the overload that it is when nearly every request is called bad."""
        if fault.error_class is ErrorClass.BAD_REQUEST and watch.breaker.storm:
            return Fault(ErrorClass.SERVER, fault.detail, status=fault.status)
        return fault

    def _others(self, course: Course[T], target: Deployment) -> list[Watch]:
        """The other targets that this call may be asked of, by choice or at need."""
        line = tuple(one for one in course.line or () if one.id != target.id)
        found = choose(Route(line), self._board.states(line), course.job.needs)
        return [self._board.watch(one) for one in found.order]

    def _affordable(self, target: Deployment, fault: Fault, delay: float) -> float | None:
        """The pause before another attempt, ``None`` when the provider has had its share of them.

        One that a provider asked for by Retry-After is its own pacing and not counted.
        """
        if fault.retry_after is not None or target.batched:
            return delay
        return delay if self._budgets.take(target.provider, self._clock.monotonic()) else None

    def _give_up(
        self, course: Course[T], target: Deployment, fault: Fault, attempts: Attempts
    ) -> CallError:
        """The error after the last attempt, and whether the next call would fail alike."""
        now, watch = self._clock.monotonic(), self._board.watch(target)
        watch.gave_up()
        traits = TRAITS[fault.error_class]
        error_class, fatal = fault.error_class, traits.fatal
        wait = fault.retry_after
        if fault.unsure and watch.answered_at >= attempts.started:
            error_class, fatal = ErrorClass.RATE_LIMIT, False
        elif error_class is ErrorClass.NOT_FOUND and watch.answered_at > float("-inf"):
            fatal = False
        elif traits.retryable:
            watch.exhausted += is_outage(error_class)
            watch.throttled += not is_outage(error_class)
            waits = fault.retry_after is not None and attempts.count == 1
            fatal = waits or max(watch.exhausted, watch.throttled) >= OUTAGE_CALLS
        if self.sender.rests(target) and all(
            self.sender.rests(one) for one in course.route.targets
        ):
            fatal, wait = True, watch.breaker.health(now).wait
        text = TRAITS[error_class].text
        message = f"{target.provider}: {text}" + (f" ({fault.detail})" if fault.detail else "")
        return CallError(error_class, message, fatal=fatal, retry_after=wait)
