"""The breaker against a simple reference, and two breakers that share one state."""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from providers.gateway.breaker import Breaker, BreakerPolicy, Pass
from providers.gateway.errors import ErrorClass, Fault
from providers.gateway.health import BY_HAND, Health

POLICY = BreakerPolicy()
OUTAGES = (ErrorClass.NETWORK, ErrorClass.TIMEOUT, ErrorClass.SERVER)
NEUTRAL = (ErrorClass.RATE_LIMIT, ErrorClass.CONTEXT_LENGTH, ErrorClass.BAD_ANSWER)


def breaker(policy: BreakerPolicy = POLICY) -> Breaker:
    return Breaker(policy, random.Random(1))


def down(times: int, now: float = 0.0, **options: bool) -> Breaker:
    one = breaker()
    for _ in range(times):
        one.failed(now, Fault(ErrorClass.SERVER), **options)
    return one


def tried(one: Breaker, now: float, *outcomes: Fault | None) -> None:
    """Try a resting model once for each outcome."""
    for outcome in outcomes:
        assert one.passes(now) in (Pass.TAKE, Pass.TRY)
        taken = one.passes(now) is Pass.TAKE
        one.reach()
        assert one.passes(now) is Pass.WAIT
        if taken:
            one.granted(now)
            assert one.passes(now) is Pass.WAIT
        if outcome is None:
            one.succeeded(now, trial=True)
        else:
            one.failed(now, outcome, trial=True)


class Machine(RuleBasedStateMachine):
    """Calls with any outcome at any time; trials are made whenever they may be."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.one = breaker()
        self.marks: list[tuple[float, bool]] = []
        self.row = self.good = self.opens = 0
        self.opened: float | None = None

    @rule(seconds=st.sampled_from((0.1, 4.0, 9.0, 31.0, 200.0)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(times=st.integers(1, 6))
    def answered(self, times: int) -> None:
        for _ in range(times):
            self._call(None)

    @rule(error_class=st.sampled_from(OUTAGES), times=st.integers(1, 6))
    def fails(self, error_class: ErrorClass, times: int) -> None:
        for _ in range(times):
            self._call(Fault(error_class, sent=error_class is not ErrorClass.NETWORK))

    @rule(error_class=st.sampled_from(NEUTRAL), times=st.integers(1, 12))
    def says_nothing_about_the_model(self, error_class: ErrorClass, times: int) -> None:
        for _ in range(times):
            self._call(Fault(error_class, status=429))

    @rule(times=st.integers(1, 12))
    def fails_again(self, times: int) -> None:
        """Further attempts of one call open nothing."""
        for _ in range(times):
            if self.one.passes(self.now) is Pass.FREE:
                self.one.failed(self.now, Fault(ErrorClass.SERVER), again=True)

    @rule()
    def comes_late(self) -> None:
        """Calls that left before it opened neither close nor open it further."""
        if self.opened is not None:
            self.one.succeeded(self.now)
            self.one.failed(self.now, Fault(ErrorClass.SERVER))

    def _call(self, fault: Fault | None) -> None:
        passes = self.one.passes(self.now)
        if passes is Pass.FREE:
            if fault is None:
                self.one.succeeded(self.now)
            else:
                self.one.failed(self.now, fault)
            self._mark(fault)
        elif passes is not Pass.REST:
            tried(self.one, self.now, fault)
            self._tried(fault)

    def _mark(self, fault: Fault | None) -> None:
        if fault is not None and fault.error_class not in OUTAGES:
            return
        self.row = self.row + 1 if fault else 0
        self.marks.append((self.now, fault is None))
        self.marks = [mark for mark in self.marks if mark[0] >= self.now - POLICY.window]
        bad = sum(not good for _, good in self.marks)
        mostly = self.row >= 2 and len(self.marks) >= 10 and 2 * bad >= len(self.marks)
        if self.row >= 5 or mostly:
            self._open()

    def _open(self) -> None:
        self.opened, self.good, self.row, self.marks = self.now, 0, 0, []
        self.opens += 1

    def _tried(self, fault: Fault | None) -> None:
        if fault is None:
            self.good += 1
            if self.good == 2:
                self.opened, self.opens = None, 0
        elif fault.error_class in OUTAGES:
            self._open()

    @invariant()
    def is_closed_when_the_reference_is(self) -> None:
        assert (self.one.state == "closed") == (self.opened is None)

    @invariant()
    def rests_as_long_as_it_should(self) -> None:
        if self.opened is None or self.one.state != "open":
            return
        due = min(120.0, 10.0 * 1.5 ** (self.opens - 1))
        rested = self.now - self.opened
        if rested < 0.9 * due:
            assert self.one.passes(self.now) is Pass.REST
            assert 0 < self.one.health(self.now).wait <= 1.1 * due
        if rested > 1.1 * due:
            assert self.one.passes(self.now) is Pass.TAKE


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestMachine = Machine.TestCase


@pytest.mark.parametrize("error_class", OUTAGES)
def test_five_in_a_row_open_it_and_four_do_not(error_class: ErrorClass) -> None:
    one = breaker()
    for _ in range(4):
        one.failed(0.0, Fault(error_class, "cause"))
    assert one.state == "closed"
    one.failed(0.0, Fault(error_class, "cause"))
    health = one.health(0.0)
    assert (health.state, health.reason, health.detail) == ("open", error_class, "cause")


def test_half_of_ten_within_half_a_minute_open_it() -> None:
    slow, fast = breaker(), breaker()
    for number, outcome in enumerate("gbgbgbggbb"):
        for one, pace in ((slow, 4.0), (fast, 2.0)):
            if outcome == "b":
                one.failed(number * pace, Fault(ErrorClass.TIMEOUT))
            else:
                one.succeeded(number * pace)
    assert (slow.state, fast.state) == ("closed", "open")


def test_who_looks_for_the_text_that_trips_a_server_opens_nothing() -> None:
    one = breaker()
    for number in range(20):
        one.failed(number, Fault(ErrorClass.SERVER))
        one.succeeded(number)
    assert one.state == "closed"


@pytest.mark.parametrize(
    "error_class",
    [ErrorClass.QUOTA, ErrorClass.AUTH, ErrorClass.PERMISSION, ErrorClass.NOT_FOUND],
)
def test_what_lasts_rests_at_once_and_longer_each_time(error_class: ErrorClass) -> None:
    one = breaker()
    one.failed(0.0, Fault(error_class))
    rest = one.health(0.0).wait
    assert rest == pytest.approx(60)
    tried(one, 61.0, Fault(error_class))
    assert one.health(61.0).wait == pytest.approx(90)


def test_a_model_that_answered_a_moment_ago_is_not_forgotten() -> None:
    one = breaker()
    one.succeeded(0.0)
    one.failed(0.0, Fault(ErrorClass.NOT_FOUND))
    assert one.state == "closed"


def test_a_quota_that_says_when_it_returns_is_believed_up_to_a_point() -> None:
    for told, rest in ((20.0, 20.0), (86_400.0, 900.0)):
        one = breaker()
        one.failed(0.0, Fault(ErrorClass.QUOTA, retry_after=told))
        assert one.health(0.0).wait == rest


def test_rate_limits_never_open_it() -> None:
    one = breaker()
    for _ in range(100):
        one.failed(0.0, Fault(ErrorClass.RATE_LIMIT, status=429))
    assert one.state == "closed"


def test_a_storm_of_refused_requests_counts_as_overload() -> None:
    one = breaker()
    for number in range(40):
        if number % 3 == 0:
            one.succeeded(0.0)
        one.failed(0.0, Fault(ErrorClass.BAD_REQUEST, status=400))
        assert one.storm == (number >= 14) or one.state == "open"
    few = breaker()
    for _ in range(30):
        few.succeeded(0.0)
        few.succeeded(0.0)
        few.failed(0.0, Fault(ErrorClass.BAD_REQUEST, status=400))
    assert (few.state, few.storm) == ("closed", False)


def test_one_tries_at_a_time_and_two_answers_close_it() -> None:
    one = down(5)
    assert one.passes(8.9) is Pass.REST
    tried(one, 11.1, None)
    assert one.state == "half_open"
    tried(one, 11.2, None)
    assert (one.state, one.health(11.2).opens) == ("closed", 0)


def test_a_trial_that_says_nothing_is_followed_by_another() -> None:
    one = down(5)
    tried(one, 12.0, Fault(ErrorClass.RATE_LIMIT, status=429))
    assert one.passes(12.0) is Pass.TRY


# Sharing


def test_what_others_decided_is_taken_over() -> None:
    one = breaker()
    one.learn(Health("open", version=3, reason="server", opens=2, wait=15.0), 100.0)
    assert one.passes(114.0) is Pass.REST
    assert one.passes(115.0) is Pass.TAKE
    one.learn(Health("closed", version=5), 104.0)
    assert one.passes(104.0) is Pass.FREE


def test_a_rest_by_hand_lasts_until_it_is_ended_by_hand() -> None:
    one = breaker()
    one.learn(Health("rested", version=1, reason=BY_HAND), 0.0)
    one.succeeded(10.0)
    assert one.passes(1e9) is Pass.REST
    one.learn(Health("closed", version=2), 1e9)
    assert one.passes(1e9) is Pass.FREE


def test_a_change_is_told_once() -> None:
    one = down(5)
    change = one.tell()
    assert change is not None
    assert (change.state, change.version, change.reason) == ("open", 0, "server")
    assert 9 <= change.wait <= 11
    assert not one.pending
    assert one.tell() is None


def test_an_untold_change_is_told_again() -> None:
    one = down(5)
    change = one.tell()
    one.untold()
    assert one.pending
    assert one.tell() == change


def test_who_decided_second_gives_in() -> None:
    one = down(5)
    one.tell()
    one.learn(Health("rested", version=1, reason=BY_HAND), 0.0)
    assert (one.state, one.pending) == ("rested", False)


def test_a_change_that_took_effect_leaves_the_rest_as_it_was() -> None:
    one = down(5)
    change = one.tell()
    assert change is not None
    wait = one.health(0.0).wait
    one.learn(Health("open", version=1, reason="server", opens=1, wait=99.0, members=3), 0.0)
    assert one.health(0.0).wait == wait
    assert one.health(0.0).members == 3
    tried(one, 12.0, None, None)
    closing = one.tell()
    assert closing is not None
    assert (closing.state, closing.version) == ("closed", 1)


def test_a_second_change_while_the_first_is_told_builds_on_it() -> None:
    one = down(5)
    one.tell()
    tried(one, 12.0, None, None)
    one.learn(Health("open", version=1, reason="server", opens=1, wait=9.0), 12.0)
    change = one.tell()
    assert one.state == "closed"
    assert change is not None
    assert (change.state, change.version) == ("closed", 1)


def test_a_trial_of_another_process_is_waited_for() -> None:
    one = breaker()
    one.learn(Health("half_open", version=2, reason="server", opens=1, wait=30.0), 0.0)
    assert one.passes(29.0) is Pass.WAIT
    assert one.passes(30.0) is Pass.TAKE
