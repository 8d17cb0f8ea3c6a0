"""The processes of a simulated installation, and what the product is told of its machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.db import connection

from analyses import tasks
from analyses.runner import worker
from tests.simulation.stage import Violation
from tests.simulation.virtual import Executor, Killed, Loop, Thread

if TYPE_CHECKING:
    from tests.simulation.world import World


class Process:
    """A worker process of the pool. ``birth`` tells it from those that had its slot before."""

    def __init__(self, world: World, slot: int, host: str, birth: int) -> None:
        self.world = world
        self.slot = slot
        self.owner = f"{host}:{100 + slot}:{birth}"
        self.host = host
        self.alive = True
        self.frozen = False
        self.draining = False
        self.told_to_exit = False
        self.responsive = 0.0
        self.threads: list[Thread] = []
        self.executors: list[Executor] = []
        self.loop: Loop | None = None
        self.pump: Any = None
        self.worker: Any = None

    def begin_pump(self) -> None:
        """What a task of the queue does: ``asyncio.run(Worker(seconds=SLICE).run())``."""
        self.loop = Loop(self.world.clock, self.world.complain)
        self.world.loops.append(self.loop)
        self.executors, self.threads = [], []
        self.worker = worker.Worker(seconds=tasks.SLICE, quit_when=lambda: self.draining)
        self.pump = self.loop.create_task(self.worker.run())

    def ended_pump(self) -> None:
        if self.pump is None or not self.pump.done():
            return
        pump, self.pump, self.worker = self.pump, None, None
        if not pump.cancelled() and pump.exception() is not None:
            raise Violation(f"a worker ended with {pump.exception()!r}") from pump.exception()

    def ready_threads(self) -> list[Thread]:
        running = [thread for thread in self.threads if not thread.over]
        running += [thread for one in self.executors if (thread := one.begin()) is not None]
        return [thread for thread in running if thread.ready(self.world.clock.now)]

    def next_time(self) -> float | None:
        times = [t.wake_at for t in self.threads if not t.over and t.wake_at is not None]
        due = self.loop.next_timer() if self.loop is not None and self.pump is not None else None
        return min([*times, *([due] if due is not None else [])], default=None)

    def can_turn(self) -> bool:
        return self.loop is not None and self.pump is not None and self.loop.busy()

    def note_time(self, seconds: float) -> None:
        """Time passes: it is responsive as long as it has nothing to do and is not held up."""
        if not self.alive or self.frozen or self.can_turn() or self.ready_threads():
            return
        due = self.next_time()
        left = seconds if due is None else due - self.world.clock.now
        self.responsive += min(seconds, left)

    def die(self) -> None:
        self.alive = False
        self.world.graveyard.append((self.loop, self.pump, self.worker))
        for one in self.executors:
            thread = one.thread
            if thread is not None and not thread.over:
                thread.die()
        for thread in self.threads:
            if not thread.over:
                thread.die()
        self.pump = None


class Bystander:
    """A process with nothing but threads: a web process or the supervisor."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.host = "here"
        self.owner = f"here:{name}:0"
        self.thread: Thread | None = None


class Machine:
    """What the product is told of the machine it is on: owners, wake-ups, threads, kills."""

    def owner_name(self) -> str:
        return self.acting.owner if self.acting is not None else "here:web:0"

    def owner_is_dead(self, owner: str) -> bool:
        """Whether the asking process can know that ``owner`` is gone: on its own host alone."""
        host = self.acting.host if self.acting is not None else "here"
        return owner.partition(":")[0] == host and owner in self.dead

    def wake(self, _task: str, *_args: Any) -> None:
        self.nudges += 1

    def executor(self, *_args: Any, **options: Any) -> Executor:
        made = Executor(self.acting, options.get("thread_name_prefix", ""))
        self.acting.executors.append(made)
        return made

    def exit(self, _code: int) -> None:
        """``os._exit`` of the acting process."""
        self.killed.append(self.acting)
        raise Killed

    def complain(self, context: Mapping[str, Any]) -> None:
        """An event loop met an error that nobody awaits."""
        error = context.get("exception")
        if isinstance(error, Killed) or self.acting is None:
            return
        if self.breathing and isinstance(error, Exception):
            self.faults.append(f"{context.get('message')}: {error!r}")

    def statement(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        """Django's hook around each statement: where threads give way, and may be killed."""
        thread = Thread.current_or_none()
        if thread is None:
            return execute(sql, params, many, context)
        if thread.dying:
            if sql.startswith(("ROLLBACK", "RELEASE")):
                return execute(sql, params, many, context)
            raise Killed
        if self.kill_whom is not None and thread.process is self.kill_whom:
            self._kill_inside(thread)
        if not connection.in_atomic_block and self.rng.random() < self.fineness:
            thread.give_way()
        return execute(sql, params, many, context)

    def _kill_inside(self, thread: Thread) -> None:
        self.kill_in -= 1
        if self.kill_in <= 0:
            self.killed.append(thread.process)
            self.kill_whom = None
            thread.dying = True
            raise Killed
