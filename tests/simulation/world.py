"""A small installation in which everything that can happen happens when a schedule says so.

The worker, the reader, the gateway with its journal, the heartbeat, the supervisor's tick and the
buttons are the product's own code; simulated are time, threads, processes, the queue's wake-ups
and the provider, which keeps a bill of its own.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from django.conf import settings
from django.db import connection
from django.utils import timezone
from django.utils.module_loading import import_string

from analyses import plan
from analyses.models import AnalysisSession
from analyses.runner import ports, stages, worker
from analyses.services import sessions
from core import q2, work
from providers.gateway import clock, dispatch, sending
from providers.runner import gateways
from tests.simulation.people import People
from tests.simulation.processes import Bystander, Machine, Process
from tests.simulation.provider import LATEST, Request, SimulatedClient, Wire
from tests.simulation.stage import Shape, Stage
from tests.simulation.standing_in import Errors, handlers, keep_log, replaced, strftime, thread_of
from tests.simulation.virtual import Clock, Event, Loop, Thread


@dataclass
class World(Machine, Wire, People):
    """Everything at one moment. Use :func:`world` to make one."""

    stage: Stage
    shape: Shape
    rng: random.Random
    clock: Clock = field(default_factory=Clock)
    slots: list[Process] = field(default_factory=list)
    nudges: int = 0
    up: bool = True
    wire: list[Request] = field(default_factory=list)
    sent: list[Request] = field(default_factory=list)
    bills: int = 0
    births: int = 0
    dead: set[str] = field(default_factory=set)
    analyses: list[AnalysisSession] = field(default_factory=list)
    stopped: dict[int, dict[Process, float]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    graveyard: list[Any] = field(default_factory=list)
    loops: list[Loop] = field(default_factory=list)
    acting: Any = None
    kill_in: int = 0
    kill_whom: Process | None = None
    killed: list[Process] = field(default_factory=list)
    ticked_at: float = 0.0
    breathing: bool = True
    limited: bool = False
    used_when_limited: dict[str, float] = field(default_factory=dict)

    def begin(self) -> None:
        """Start the analyses and the processes."""
        self.fineness = self.shape.fineness
        self.supervisor, self.web = Bystander("supervisor"), Bystander("web")
        for _ in range(self.shape.analyses):
            session = sessions.start_session(
                actor=self.stage.actor,
                project=self.stage.dataset.project,
                dataset=self.stage.dataset,
                template_version=self.stage.version,
                chat=self.stage.chat,
                concurrency=self.shape.concurrency,
            )
            self.analyses.append(session)
        if self.shape.limit is not None:
            self.limit(self.shape.limit)
        for slot in range(self.shape.workers):
            host = "there" if self.shape.other_host and slot % 2 else "here"
            self.slots.append(self.born(slot, host))

    def born(self, slot: int, host: str) -> Process:
        self.births += 1
        return Process(self, slot, host, self.births)

    def choices(self) -> list[tuple[str, Any]]:
        """Everything that may happen next."""
        found: list[tuple[str, Any]] = [("wait", None), ("click", None), ("provider", None)]
        for process in self.slots:
            found += self._of_process(process)
        for request in self.wire:
            found.append(("answer" if self.up else "refuse", request))
            found.append(("fault", request))
        for by in (self.supervisor, self.web):
            if by.thread is not None and by.thread.ready(self.clock.now):
                found.append(("bystander", by))
        if self.supervisor.thread is None:
            found.append(("tick", None))
        if self.nudges:
            found.append(("nudge", None))
        if self.limited:
            found.append(("limit", None))
        return found

    def _of_process(self, process: Process) -> list[tuple[str, Any]]:
        if not process.alive:
            return [("restart", process)]
        if process.frozen:
            return [("thaw", process), ("kill", process)]
        found: list[tuple[str, Any]] = [("kill", process), ("freeze", process)]
        found += [("thread", thread) for thread in process.ready_threads()]
        if process.can_turn():
            found.append(("turn", process))
        if process.pump is None and self.nudges and not process.draining:
            found.append(("pump", process))
        if process.pump is not None:
            found += [("drain", process), ("kill inside", process)]
        return found

    def do(self, kind: str, what: Any) -> None:
        """Let one thing happen."""
        getattr(self, "_do_" + kind.replace(" ", "_"))(what)
        self._bury()

    def _bury(self) -> None:
        for process in self.killed:
            if process.alive:
                self._do_kill(process)
        self.killed.clear()

    @contextlib.contextmanager
    def _as(self, process: Any) -> Iterator[None]:
        self.acting = process
        try:
            yield
        finally:
            self.acting = None

    def _do_turn(self, process: Process) -> None:
        with self._as(process):
            process.loop.turn()
            process.ended_pump()

    def _do_thread(self, thread: Thread) -> None:
        with self._as(thread.process):
            thread.go_on()

    def _do_bystander(self, by: Bystander) -> None:
        assert by.thread is not None
        with self._as(by):
            by.thread.go_on()
        if by.thread.over:
            by.thread = None

    def _do_pump(self, process: Process) -> None:
        self.nudges -= 1
        with self._as(process):
            process.begin_pump()

    def _do_kill(self, process: Process) -> None:
        with self._as(process):
            process.die()
        self.dead.add(process.owner)
        for request in list(self.wire):
            if request.process is process and self.rng.random() < 0.5:
                self.off_the_wire(request)

    def _do_kill_inside(self, process: Process) -> None:
        self.kill_whom, self.kill_in = process, self.rng.randrange(1, 30)

    def _do_restart(self, process: Process) -> None:
        self.slots[process.slot] = self.born(process.slot, process.host)

    def _do_freeze(self, process: Process) -> None:
        process.frozen = True

    def _do_thaw(self, process: Process) -> None:
        process.frozen = False

    def _do_drain(self, process: Process) -> None:
        process.draining = True

    def _do_nudge(self, _what: None) -> None:
        """A wake-up is lost or doubled."""
        self.nudges += self.rng.choice((-1, 1))

    def _do_wait(self, seconds: float | None) -> None:
        if seconds is None:
            seconds = self.rng.choice((0.05, 0.3, 0.6, 2.5, 7.0, 26.0, 35.0, 130.0))
        self.let_pass(seconds)

    def let_pass(self, seconds: float) -> None:
        for process in self.slots:
            process.note_time(seconds)
        self.clock.now += seconds
        for request in list(self.wire):
            if not request.waited_for and self.clock.now - request.at > LATEST:
                self.off_the_wire(request)

    def _do_tick(self, _what: None) -> None:
        self.ticked_at = self.clock.now
        self.supervisor.thread = Thread(self.supervisor, _ticks, "tick")
        self._do_bystander(self.supervisor)


def _ticks() -> None:
    """What every supervisor calls every few seconds, as far as it concerns analyses."""
    for path in settings.SUPERVISOR_TICKS:
        if path.startswith(("providers.", "analyses.")):
            import_string(path)()


@contextlib.contextmanager
def world(stage: Stage, shape: Shape, seed: int) -> Iterator[World]:
    """A world in its first moment, on the current database connection."""
    made = World(stage, shape, random.Random(f"world {seed}"))
    raw = connection.connection
    stage.copy.backup(raw)
    other = sqlite3.connect(":memory:")
    errors = Errors(made)
    jitter = random.Random(f"jitter {seed}")
    threads = SimpleNamespace(
        Event=lambda: Event(made.clock), Lock=threading.Lock, Thread=thread_of(made)
    )
    build = ports.build

    def build_for(session: AnalysisSession, *args: Any, **options: Any) -> Any:
        Thread.current().notes["session"] = session.pk
        return build(session, *args, **options)

    with contextlib.ExitStack() as undo:
        undo.enter_context(replaced(time, made.clock))
        undo.enter_context(replaced(threading, threads, ("core",)))
        undo.enter_context(replaced(ThreadPoolExecutor, made.executor))
        undo.enter_context(
            replaced(random, SimpleNamespace(Random=lambda *_: jitter), ("providers",))
        )
        undo.enter_context(replaced(work.owner_name, made.owner_name))
        undo.enter_context(replaced(work.owner_is_dead, made.owner_is_dead))
        undo.enter_context(patch.object(q2, "wake", made.wake))
        undo.enter_context(patch.object(q2, "waiting", lambda: made.nudges))
        undo.enter_context(patch.object(q2, "pool_name", lambda: "pool"))
        undo.enter_context(patch.object(os, "_exit", made.exit))
        # Looking for work and for other people's answers less often saves steps, nothing else.
        undo.enter_context(patch.object(worker, "POLL", 0.5))
        for module in (clock, sending, dispatch):
            undo.enter_context(patch.object(module, "STOP_POLL", 1.0))
        undo.enter_context(patch.object(timezone, "now", made.clock.moment))
        undo.enter_context(patch.object(plan, "batch_size", lambda total: shape.batch))
        undo.enter_context(
            patch.object(gateways, "open_clients", lambda *_: {"scripted": SimulatedClient(made)})
        )
        undo.enter_context(patch.object(ports, "build", build_for))
        undo.enter_context(patch.dict(stages.HANDLERS, handlers()))
        undo.enter_context(patch.object(sys, "unraisablehook", lambda _: None))
        undo.enter_context(keep_log(errors))
        raw.create_function("STRFTIME", -1, strftime(made.clock, other))
        undo.callback(raw.create_function, "STRFTIME", -1, None)
        made.begin()
        with connection.execute_wrapper(made.statement):
            try:
                yield made
            finally:
                made.breathing = False
                _end(made)
    other.close()


def _end(made: World) -> None:
    """Let every thread go, so that nothing of this world runs in the next one."""
    for process in made.slots:
        if process.alive:
            process.die()
    for by in (made.supervisor, made.web):
        if by.thread is not None and not by.thread.over:
            by.thread.die()
    for loop in made.loops:
        loop.close_tasks()
    made.graveyard.clear()
