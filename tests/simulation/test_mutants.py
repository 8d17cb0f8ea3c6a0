"""Every fault that was put in on purpose is found, and the code as it is passes the same."""

from __future__ import annotations

import pytest

from tests.simulation.adversary import oppose, say
from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.stage import Stage

pytestmark = pytest.mark.simulation

MOST_SCHEDULES = 120
"""Schedules within which a mutant has to be found."""


@pytest.mark.parametrize(
    ("mutant", "mood"), [pytest.param(*one, id=name) for name, one in MUTANTS.items()]
)
def test_the_adversary_kills(mutant: Mutant, mood: str, stage: Stage) -> None:
    report = oppose(stage, range(MOST_SCHEDULES), mood=mood, mutated=mutant)
    assert report.found.startswith("Violation: "), f"survived: {report}"
    say(f"killed by schedule {report.schedules} ({report.steps} steps): {report.found[:160]}")
    again = oppose(stage, [report.seed or 0], mood=mood)
    assert not again.found, str(again)
