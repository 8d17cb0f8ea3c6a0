"""The same world under hypothesis, which shrinks a failing schedule to the shortest it finds."""

from __future__ import annotations

import contextlib
import os
from typing import Any, ClassVar

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as play

from tests.simulation.adversary import Fair, named, until_next
from tests.simulation.people import CLICKS
from tests.simulation.rules import Rules
from tests.simulation.stage import Shape, Stage
from tests.simulation.world import World, world

EXAMPLES = int(os.environ.get("SIMULATE_EXAMPLES", "15"))
STEPS = int(os.environ.get("SIMULATE_STEPS", "40"))

ORDINARY = ("turn", "thread", "bystander", "pump", "answer", "refuse")
"""What happens by itself; the rest is what goes wrong."""


class Installation(RuleBasedStateMachine):
    """One installation; ``stage`` is set by the test."""

    stage: ClassVar[Stage]

    def __init__(self) -> None:
        super().__init__()
        self._close = contextlib.ExitStack()
        self._made: World | None = None

    @initialize(
        workers=st.integers(2, 4),
        batch=st.sampled_from([1, 2, 6]),
        concurrency=st.integers(1, 3),
        limit=st.sampled_from([None, 0.6]),
        other_host=st.booleans(),
        fineness=st.sampled_from([0.0, 1.0]),
    )
    def begin(self, **shape: Any) -> None:
        self._made = self._close.enter_context(world(self.stage, Shape(**shape), 0))
        self._rules = Rules(self._made)

    @property
    def _world(self) -> World:
        assert self._made is not None
        return self._made

    def _do(self, kind: str, pick: int) -> None:
        found = sorted(
            (one for one in self._world.choices() if one[0] == kind),
            key=lambda one: named(one[1]),
        )
        if found:
            self._world.do(kind, found[pick % len(found)][1])
        self._rules.check()

    @rule(pick=st.integers(0, 7), steps=st.integers(1, 30))
    def work(self, pick: int, steps: int) -> None:
        """Let several things happen as they come."""
        for step in range(steps):
            ready = [one for one in self._world.choices() if one[0] in ORDINARY]
            if not ready:
                self._world.let_pass(until_next(self._world))
                self._rules.check()
                continue
            self._world.do(*ready[(pick + step * pick) % len(ready)])
            self._rules.check()

    @rule(pick=st.integers(0, 7), kind=st.sampled_from(ORDINARY))
    def one(self, pick: int, kind: str) -> None:
        self._do(kind, pick)

    @rule(pick=st.integers(0, 3), kind=st.sampled_from(["kill", "kill inside", "drain"]))
    def end_a_process(self, pick: int, kind: str) -> None:
        self._do(kind, pick)

    @rule(pick=st.integers(0, 3))
    def restart(self, pick: int) -> None:
        self._do("restart", pick)

    @rule(pick=st.integers(0, 3), seconds=st.sampled_from([1.0, 26.0, 35.0, 200.0]))
    def freeze_and_wait(self, pick: int, seconds: float) -> None:
        self._do("freeze", pick)
        self._world.let_pass(seconds)

    @rule(pick=st.integers(0, 3))
    def thaw(self, pick: int) -> None:
        self._do("thaw", pick)

    @rule(seconds=st.sampled_from([0.05, 0.6, 2.5, 7.0, 35.0]))
    def wait(self, seconds: float) -> None:
        self._world.let_pass(seconds)
        self._rules.check()

    @rule()
    def tick(self) -> None:
        self._do("tick", 0)

    @rule(pick=st.integers(0, 7))
    def fault(self, pick: int) -> None:
        self._do("fault", pick)

    @rule(act=st.sampled_from(CLICKS))
    def click(self, act: Any) -> None:
        self._world.do("click", (act, 0))
        self._rules.check()

    @rule()
    def outage(self) -> None:
        self._do("provider", 0)

    @precondition(lambda self: self._made is not None and self._made.limited)
    @rule(amount=st.sampled_from([0.1, 0.5, 3.0]))
    def limit(self, amount: float) -> None:
        self._world.limit(amount)
        self._rules.check()

    def teardown(self) -> None:
        """Liveness: with every obstacle lifted, everything ends."""
        with self._close:
            if self._made is not None:
                Fair(self._made, self._rules, lambda *_: None).run()


def test_no_sequence_of_events_breaks_a_rule(stage: Stage) -> None:
    settings = hypothesis.settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        derandomize=EXAMPLES <= 15 or "CI" in os.environ,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        print_blob=True,
    )
    machine = type("Machine", (Installation,), {"stage": stage})
    play(machine, settings=settings)
