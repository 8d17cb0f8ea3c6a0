"""A seeded opponent that schedules as badly as it can, and a fair one that lets everything end."""

from __future__ import annotations

import random
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from analyses.models import ENDED, AnalysisSession, Desired, SessionStatus
from analyses.services import sessions
from providers.models import SpendLimit
from tests.simulation.rules import Rules
from tests.simulation.stage import Shape, Stage, Violation
from tests.simulation.world import World, world

TICK = 5.0
"""Seconds between ticks of the supervisor when nothing hinders it."""

PATIENCE = 3600.0
"""Seconds after the last obstacle within which everything has to end."""

MOST_STEPS = 10_000
"""Steps of a fair schedule: ten times what the longest takes."""

WEIGHTS = {
    "turn": 30.0,
    "thread": 40.0,
    "pump": 8.0,
    "bystander": 20.0,
    "answer": 12.0,
    "refuse": 4.0,
    "fault": 1.5,
    "wait": 1.0,
    "next": 6.0,
    "click": 0.6,
    "kill": 0.3,
    "kill inside": 0.3,
    "restart": 3.0,
    "freeze": 0.5,
    "thaw": 1.0,
    "drain": 0.15,
    "tick": 1.5,
    "nudge": 0.2,
    "provider": 0.15,
    "limit": 0.4,
}
MOODS: dict[str, dict[str, float]] = {
    "even": {},
    "racing": {"freeze": 6, "thaw": 2, "wait": 4, "kill": 0.3, "fault": 0.3, "click": 0.5},
    "deadly": {"kill": 5, "kill inside": 5, "wait": 2, "click": 0.3},
    "restless": {"click": 8, "freeze": 2, "tick": 2},
    "faulty": {"fault": 6, "provider": 6, "kill": 0.3, "freeze": 0.3},
    "outage": {"provider": 15, "refuse": 12, "answer": 0.5, "kill": 0.3, "freeze": 0.3},
    "poor": {"limit": 4, "kill": 2, "fault": 2},
}


@dataclass
class Report:
    """What a run of schedules came to. ``found`` is the first violation."""

    schedules: int = 0
    steps: int = 0
    seconds: float = 0.0
    found: str = ""
    seed: int | None = None
    trace: tuple[str, ...] = ()
    cause: str = ""

    def __str__(self) -> str:
        rate = self.steps / self.seconds if self.seconds else 0.0
        text = (
            f"{self.schedules} schedules, {self.steps} steps in {self.seconds:.1f} s"
            f" ({rate:.0f} steps/s)"
        )
        if not self.found:
            return f"{text}, no violation"
        steps = "\n".join(self.trace)
        return f"{text}\nseed {self.seed}: {self.found}\n{steps}\n{self.cause}"


class Opponent:
    """One schedule: everything it does follows from its seed."""

    def __init__(self, stage: Stage, seed: int, mood: str = "") -> None:
        self._rng = random.Random(f"opponent {seed}")
        self._stage = stage
        self._seed = seed
        self.mood = mood or self._rng.choice(list(MOODS))
        self._weights = {
            kind: weight * MOODS[self.mood].get(kind, 1.0) for kind, weight in WEIGHTS.items()
        }
        self.length = self._rng.choice((80, 160, 320, 500))
        self.shape = self._shape()
        self.steps = 0
        self.trace: list[str] = []

    def _shape(self) -> Shape:
        rng = self._rng
        limits = (0.1, 0.4, 0.8) if self.mood == "poor" else (None, None, None, 0.6)
        return Shape(
            workers=rng.choice((2, 2, 3, 4)),
            analyses=rng.choice((1, 1, 2)),
            batch=rng.choice((1, 2, 3, 6)),
            concurrency=rng.choice((1, 2, 4)),
            limit=rng.choice(limits),
            other_host=rng.random() < 0.5,
            fineness=rng.choice((0.0, 0.2, 0.6, 1.0)),
            poison="(3)" if rng.random() < 0.15 else "",
        )

    def play(self) -> None:
        """Play the schedule and then fairly to the end; raises :class:`Violation`."""
        self.trace.append(f"mood {self.mood}, {self.shape}")
        with world(self._stage, self.shape, self._seed) as made:
            rules = Rules(made)
            for _ in range(self.length):
                self._step(made)
                rules.check()
            self.trace.append("fair from here on")
            fair = Fair(made, rules, self._note)
            fair.run()

    def _step(self, made: World) -> None:
        found = made.choices()
        found.append(("next", None))
        kinds = sorted({kind for kind, _ in found})
        (kind,) = self._rng.choices(kinds, [self._weights[kind] for kind in kinds])
        what = self._rng.choice([one for name, one in found if name == kind])
        self._note(made, kind, what)
        if kind == "next":
            made.let_pass(until_next(made))
        else:
            made.do(kind, what)

    def _note(self, made: World, kind: str, what: object) -> None:
        self.steps += 1
        self.trace.append(f"{self.steps:4} {made.clock.now:8.2f} {kind} {named(what)}")


class Fair:
    """Lifts every obstacle and lets everybody work in turn until all has ended."""

    def __init__(self, made: World, rules: Rules, note: Callable[[World, str, object], None]):
        self._world = made
        self._rules = rules
        self._note = note
        self._looked = made.clock.now
        self._looks = 0

    def run(self) -> None:
        """Raises :class:`Violation` when it does not end, or not well."""
        self._lift()
        begun = self._world.clock.now
        self._until(self._over, begun + PATIENCE)
        self._rules.check_end()
        self._until(lambda: False, self._world.clock.now + 4 * TICK + 300.0)
        self._rules.check_settled()

    def _lift(self) -> None:
        made = self._world
        made.kill_whom = None
        made.fineness = 0.0
        made.up = True
        made.limited = False
        SpendLimit.objects.all().delete()
        for process in made.slots:
            if not process.alive or process.draining:
                made.do("kill", process) if process.alive else None
                made.do("restart", process)
            elif process.frozen:
                made.do("thaw", process)
        self._rules.check()

    def _over(self) -> bool:
        statuses = AnalysisSession.objects.values_list("status", flat=True)
        return set(statuses) <= set(ENDED)

    def _until(self, over: Callable[[], bool], latest: float) -> None:
        made = self._world
        for _ in range(MOST_STEPS):
            if made.clock.now > latest or over():
                return
            self._look_after()
            self._one()
            self._rules.check()
        raise Violation("it never comes to rest")

    def _one(self) -> None:
        made = self._world
        ready = [
            choice
            for choice in made.choices()
            if choice[0] in ("turn", "thread", "pump", "bystander", "answer", "restart")
        ]
        if ready:
            kind, what = ready[0]
            self._note(made, kind, what)
            made.do(kind, what)
        elif made.clock.now - made.ticked_at >= TICK:
            self._note(made, "tick", None)
            made.do("tick", None)
        else:
            made.let_pass(min(until_next(made), made.ticked_at + TICK - made.clock.now + 0.001))

    def _look_after(self) -> None:
        """A person lets go on what waits for a person."""
        made = self._world
        if made.clock.now - self._looked < 30.0 * min(20, self._looks) or made.web.thread:
            return
        self._looked = made.clock.now
        self._looks += 1
        for index, session in enumerate(made.analyses):
            row = AnalysisSession.objects.get(pk=session.pk)
            waits = row.status in (SessionStatus.BLOCKED, SessionStatus.PAUSED)
            if row.desired == Desired.PAUSE or (waits and row.desired != Desired.CANCEL):
                self._note(made, "click", ("resume", index))
                made.do("click", (sessions.resume, index))
                return


def until_next(made: World) -> float:
    """Seconds until something is due by itself."""
    times = [t for process in made.slots if (t := process.next_time()) is not None]
    return max(0.001, min(times, default=made.clock.now + TICK) - made.clock.now)


def named(what: object) -> str:
    """A choice in a few words."""
    for attribute in ("slot", "number", "name"):
        if hasattr(what, attribute):
            owner = getattr(what, "process", None)
            slot = getattr(owner, "slot", getattr(owner, "name", ""))
            return f"{getattr(what, attribute)} {slot if owner is not None else ''}".strip()
    return "" if what is None else str(what)


def oppose(
    stage: Stage,
    seeds: Iterable[int],
    *,
    seconds: float = float("inf"),
    mood: str = "",
    mutated: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Report:
    """Play the schedules of the seeds until one breaks a rule or the time is over.

    ``mood`` is one of :data:`MOODS` for all of them; without it each seed has its own.
    """
    report, begun = Report(), time.monotonic()
    for seed in seeds:
        opponent = Opponent(stage, seed, mood)
        try:
            with mutated():
                opponent.play()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what was looked for
            report.found = f"{type(error).__name__}: {error}"
            report.cause = "".join(traceback.format_exception(error.__cause__ or error)[-6:])
            report.seed, report.trace = seed, tuple(opponent.trace)
        report.schedules += 1
        report.steps += opponent.steps
        report.seconds = time.monotonic() - begun
        if report.found or report.seconds > seconds:
            break
    return report


def say(text: str) -> None:
    """Tell whoever watches (`pytest -s`); otherwise it is kept with a failure."""
    sys.stdout.write(f"\n{text}\n")
