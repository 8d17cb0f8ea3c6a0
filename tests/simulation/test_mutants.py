"""Every fault that was put in on purpose is found, and the code as it is passes the same."""

from __future__ import annotations

import pytest

from tests.simulation.adversary import oppose, say
from tests.simulation.mutants import MUTANTS, Hunt
from tests.simulation.stage import Stage

pytestmark = pytest.mark.simulation

MOST_SCHEDULES = 120
"""Schedules within which a mutant has to be found."""

MOST_SECONDS = 150.0
"""Seconds of which a schedule may still begin; most are found within ten."""


@pytest.mark.parametrize("hunt", [pytest.param(one, id=name) for name, one in MUTANTS.items()])
def test_the_adversary_kills(hunt: Hunt, stage: Stage) -> None:
    seeds = range(hunt.seed, hunt.seed + MOST_SCHEDULES)
    report = oppose(stage, seeds, seconds=MOST_SECONDS, mood=hunt.mood, mutated=hunt.mutant)
    assert report.found.startswith("Violation: "), f"survived: {report}"
    say(
        f"killed by schedule {report.schedules} from seed {hunt.seed} ({report.steps} steps in"
        f" {report.seconds:.0f} s): {report.found[:160]}"
    )
    again = oppose(stage, [report.seed or 0], mood=hunt.mood)
    assert not again.found, str(again)
