"""A pause is noticed within a batch: a schedule made for it, which chance hardly ever plays."""

from __future__ import annotations

import pytest

from analyses.models import AnalysisSession
from analyses.services import sessions
from tests.simulation.adversary import TICK, until_next
from tests.simulation.mutants import pause_between_batches_only
from tests.simulation.rules import Rules
from tests.simulation.stage import Shape, Stage, Violation
from tests.simulation.world import World, world

pytestmark = pytest.mark.simulation

WORK = ("turn", "thread", "pump", "bystander")
SHAPE = Shape(workers=1, batch=6, concurrency=1, fineness=0.0)
"""One batch of all conversations, of which one is asked at a time."""


def step(made: World, rules: Rules, kinds: tuple[str, ...] = WORK) -> None:
    """One thing that is due, or else the time until the next."""
    ready = [choice for choice in made.choices() if choice[0] in kinds]
    if ready:
        made.do(*ready[0])
    elif made.clock.now - made.ticked_at >= TICK:
        made.do("tick", None)
    else:
        made.let_pass(min(until_next(made), 0.5))
    rules.check()


def paused_in_the_middle(stage: Stage) -> tuple[str, int, int]:
    """Pause while the first question is out, answer it much later; status and questions asked."""
    with world(stage, SHAPE, 0) as made:
        rules = Rules(made)
        while not made.wire:
            step(made, rules)
        made.do("click", (sessions.pause, 0))
        begun = made.clock.now
        while made.clock.now < begun + 10.0:
            step(made, rules)
        before = len(made.sent)
        for _ in range(600):
            step(made, rules, (*WORK, "answer"))
        return AnalysisSession.objects.get().status, before, len(made.sent)


def test_a_pause_is_noticed_within_a_batch(stage: Stage) -> None:
    status, before, after = paused_in_the_middle(stage)
    assert (status, after) == ("paused", before)
    assert before < 5, "the batch was not in its middle"


def test_a_pause_that_is_looked_at_between_batches_only_is_found(stage: Stage) -> None:
    with (
        pause_between_batches_only(),
        pytest.raises(Violation, match="a call began although its analysis was stopped before"),
    ):
        paused_in_the_middle(stage)
