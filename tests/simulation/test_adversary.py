"""A seeded opponent of worker, gateway and supervisor finds no rule that breaks.

How long it tries is SIMULATE_SECONDS, where it begins SIMULATE_SEED; `make simulate` sets both. A
failure names the seed, which plays the same schedule again.
"""

from __future__ import annotations

import itertools
import os

from tests.simulation.adversary import oppose, say
from tests.simulation.stage import Stage

SECONDS = float(os.environ.get("SIMULATE_SECONDS", "10"))
SEED = int(os.environ.get("SIMULATE_SEED", "0"))


def test_no_schedule_breaks_a_rule(stage: Stage) -> None:
    report = oppose(stage, itertools.count(SEED), seconds=SECONDS)
    say(f"from seed {SEED}: {report}")
    assert not report.found, str(report)
    assert report.schedules > 0
