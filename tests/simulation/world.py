"""A small installation in which everything that can happen happens when a schedule says so.

The worker, the reader, the gateway with its journal, the heartbeat, the supervisor's tick and the
buttons are the product's own code; simulated are time, threads, processes, the queue's wake-ups
and the provider, which keeps a bill of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import random
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from django.conf import settings
from django.db import connection
from django.utils import timezone
from django.utils.module_loading import import_string

from accounts.models import User
from analyses import plan, tasks
from analyses.models import AnalysisSession
from analyses.pipeline.base import ChatRequest, Message
from analyses.pipeline.records import Prepared, Turn
from analyses.runner import ports, saving, stages, worker
from analyses.runner.job import Job
from analyses.runner.sources import sources
from analyses.services import retry, sessions
from core import q2, work
from core.errors import AppError
from projects.models import Dataset
from providers.gateway import dispatch
from providers.gateway.errors import ErrorClass, Fault
from providers.gateway.types import Deployment, WireAnswer, WireChat
from providers.models import ModelDeployment, SpendBook, SpendLimit
from templates_app.models import TemplateVersion
from tests.simulation.virtual import Clock, Event, Executor, Killed, Loop, Thread

PRODUCT = ("core", "accounts", "providers", "projects", "templates_app", "analyses")
NOTICE = 2.0
"""Seconds within which a process has to notice what people want."""

LATEST = 120.0
"""Seconds after which the deployment's own time limit ends a call."""


@dataclass(frozen=True)
class Stage:
    """The rows every schedule begins with, and a copy of the database that holds them."""

    actor: User
    dataset: Dataset
    version: TemplateVersion
    chat: ModelDeployment
    copy: sqlite3.Connection


@dataclass(frozen=True)
class Shape:
    """How large an installation is, and what is allowed to be spent."""

    workers: int = 2
    analyses: int = 1
    conversations: int = 6
    batch: int = 2
    concurrency: int = 2
    limit: float | None = None
    other_host: bool = False
    fineness: float = 0.5
    """How often a thread gives way where it may."""
    poison: str = ""
    """A question with these words stops the process that asks it."""


TOKENS = {"tokens_in": 400, "tokens_out": 250}
"""Of every answer: 0.09 US dollars, of 0.25 that are set aside for it."""

KEY_LENGTHS = {"all": 3, "month": 7, "day": 10}
"""How long the keys of books are, by period: ``all``, ``2026-03``, ``2026-03-02``."""

CLICKS = (sessions.pause, sessions.resume, retry.retry_failed)
CANCELS = (sessions.cancel,)


class Violation(AssertionError):
    """A rule was broken."""


# --- the provider ---------------------------------------------------------------------------


@dataclass(eq=False)
class Request:
    """One request on the wire."""

    number: int
    process: Process
    session: int
    question: str
    schema: Mapping[str, Any]
    future: Any
    at: float
    billed: bool = False
    gone: bool = False

    @property
    def waited_for(self) -> bool:
        return not self.gone and not self.future.done()


class SimulatedClient:
    """Puts requests on the wire; the schedule decides what becomes of them."""

    def __init__(self, world: World) -> None:
        self._world = world
        thread = Thread.current_or_none()
        self._session = thread.notes["session"] if thread else 0

    async def chat(self, deployment: Deployment, wire: WireChat) -> WireAnswer:
        return await self._world.send(self._session, wire)

    async def embed(self, *_args: Any, **_options: Any) -> Any:
        raise Fault(ErrorClass.BAD_REQUEST, "no embeddings here", sent=False)

    async def aclose(self) -> None:
        return


def answer_to(schema: Mapping[str, Any]) -> Any:
    """The dullest value that satisfies a JSON schema."""
    kind = schema.get("type")
    kind = next((one for one in kind if one != "null"), "null") if isinstance(kind, list) else kind
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return answer_to(schema["anyOf"][0])
    if kind == "object":
        return {key: answer_to(value) for key, value in schema.get("properties", {}).items()}
    plain = {"string": "x", "integer": 1, "number": 1, "boolean": True, "array": []}
    return plain.get(str(kind))


# --- processes ------------------------------------------------------------------------------


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


# --- the world ------------------------------------------------------------------------------


@dataclass
class World:
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

    # --- what the product is told of the machine ----------------------------------------

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

    def note_stop(self, session: int, may_run: bool) -> None:
        """From now on, or no longer, calls for an analysis are unwanted."""
        if may_run:
            self.stopped.pop(session, None)
        elif session not in self.stopped:
            self.stopped[session] = {process: process.responsive for process in self.slots}

    # --- the provider ---------------------------------------------------------------------

    async def send(self, session: int, wire: WireChat) -> WireAnswer:
        process = self.acting
        words = json.dumps([[m.role, m.content] for m in wire.messages]) + str(wire.max_tokens)
        request = Request(
            number=len(self.sent),
            process=process,
            session=session,
            question=hashlib.sha256(words.encode()).hexdigest()[:12],
            schema=wire.schema or {},
            future=process.loop.create_future(),
            at=self.clock.now,
        )
        self._check_send(request)
        self.sent.append(request)
        self.wire.append(request)
        if self.shape.poison and self.shape.poison in words:
            self.killed.append(process)
        answer: WireAnswer = await request.future
        return answer

    def _check_send(self, request: Request) -> None:
        """No call begins after a pause, after a lost lease, or while somebody else asks the same.

        A process that is held up cannot notice; one that had two seconds to itself must have.
        """
        process, now = request.process, self.clock.now
        stopped = self.stopped.get(request.session)
        if stopped is not None and process.responsive >= stopped.get(process, 0.0) + NOTICE:
            self.faults.append("a call began although its analysis was stopped before")
        heart = process.worker._heart
        if heart._held and now - heart._renewed >= work.LEASE.total_seconds():
            self.faults.append(f"a call began {now - heart._renewed:.1f} s after the last renewal")
        for other in self.wire:
            if (
                other.question == request.question
                and other.process is not process
                and other.process.alive
                and other.waited_for
                and now - other.at < LATEST
            ):
                self.faults.append(f"request {other.number} was asked again while it was out")

    def bill(self, request: Request) -> None:
        """The provider did the work."""
        if not request.billed:
            request.billed = True
            self.bills += 1

    def off_the_wire(self, request: Request) -> None:
        request.gone = True
        self.wire.remove(request)

    # --- what may happen ------------------------------------------------------------------

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

    def _do_click(self, what: tuple[Any, int] | None) -> None:
        act, index = what or (
            self.rng.choice(CANCELS if self.rng.random() < 0.03 else CLICKS),
            self.rng.randrange(len(self.analyses)),
        )
        if self.web.thread is not None:
            return
        session = self.analyses[index]
        self.web.thread = Thread(
            self.web, lambda: _ignore(lambda: act(actor=self.stage.actor, session=session)), "click"
        )
        self._do_bystander(self.web)

    def _do_provider(self, _what: None) -> None:
        self.up = not self.up

    def _do_limit(self, _what: None) -> None:
        self.limit(self.rng.choice((0.1, 0.4, 0.8, 3.0)))

    def limit(self, amount: float) -> None:
        """Set the limit of the first analysis, or of a day of the project."""
        self.limited = True
        session = self.analyses[0]
        scope, period = f"analysis:{session.pk}", "all"
        if self.rng.random() < 0.3:
            scope, period = f"project:{session.project_id}", "day"
        books = SpendBook.objects.filter(scope=scope)
        used = [book for book in books if len(book.key) == KEY_LENGTHS[period]]
        self.used_when_limited[scope] = sum(
            float(book.spent + book.doubt + book.reserved) for book in used
        )
        SpendLimit.objects.update_or_create(
            scope=scope,
            period=period,
            defaults={"workspace": session.project.workspace, "amount": str(amount)},
        )

    def _do_answer(self, request: Request) -> None:
        self.bill(request)
        if request.waited_for:
            text = json.dumps(answer_to(request.schema))
            request.future.set_result(WireAnswer(text, **TOKENS))
        self.off_the_wire(request)

    def _do_refuse(self, request: Request) -> None:
        self._fault(request, Fault(ErrorClass.NETWORK, "refused", sent=False))

    def _do_fault(self, request: Request) -> None:
        kind = self.rng.randrange(7)
        if kind == 0:
            self._fault(request, Fault(ErrorClass.NETWORK, "cut off"), bill=True)
        elif kind == 1:
            self._fault(request, Fault(ErrorClass.TIMEOUT, "late"), bill=self.rng.random() < 0.5)
        elif kind == 2:
            wait = self.rng.choice((0.5, 3.0, 20.0, 90.0))
            fault = Fault(ErrorClass.RATE_LIMIT, "HTTP 429", status=429, retry_after=wait)
            self._fault(request, fault)
        elif kind == 3:
            self._fault(request, Fault(ErrorClass.SERVER, "HTTP 503", status=503))
        elif kind == 4:
            self.bill(request)  # the work is done, the answer is on its way
        elif kind == 5 and self.rng.random() < 0.3:
            self._fault(request, Fault(ErrorClass.AUTH, "HTTP 401", status=401, sent=True))
        else:
            self._garbage(request)

    def _fault(self, request: Request, fault: Fault, *, bill: bool = False) -> None:
        if bill:
            self.bill(request)
        if request.billed and (fault.status is not None or not fault.sent):
            fault = Fault(ErrorClass.NETWORK, "cut off")  # the work was done: no refusal any more
        if request.waited_for:
            request.future.set_exception(fault)
        self.off_the_wire(request)

    def _garbage(self, request: Request) -> None:
        self.bill(request)
        if request.waited_for:
            request.future.set_result(WireAnswer("never mind", **TOKENS))
        self.off_the_wire(request)


def _ticks() -> None:
    """What every supervisor calls every few seconds, as far as it concerns analyses."""
    for path in settings.SUPERVISOR_TICKS:
        if path.startswith(("providers.", "analyses.")):
            import_string(path)()


def _ignore(act: Callable[[], Any]) -> None:
    """Refusals that a person would be told are no fault."""
    with contextlib.suppress(AppError):
        act()


# --- standing in for the machine -------------------------------------------------------------


def replaced(old: Any, new: Any, modules: Sequence[str] = PRODUCT) -> contextlib.ExitStack:
    """Put ``new`` wherever a module of the product names ``old``; undone on leaving."""
    undo = contextlib.ExitStack()
    for name, module in list(sys.modules.items()):
        if module is None or not name.startswith(tuple(f"{one}." for one in modules)):
            continue
        for key, value in list(vars(module).items()):
            if value is old and not key.startswith("__"):
                undo.enter_context(patch.object(module, key, new))
    return undo


async def _prepare(job: Job) -> None:
    """Preparing without redaction, which takes long and says nothing here."""
    batch = job.batch
    rows = await job.db(sources, job.session, batch.first, batch.last)
    pairs = [
        (
            key,
            Prepared(
                position=source.position,
                turns=tuple(Turn(turn.role, turn.text) for turn in source.turns),
                spans=(),
                kept=(0, len(source.turns)),
                dropped=0,
                tokens=10,
                language="en",
            ),
        )
        for key, source in rows
    ]
    await job.save(
        lambda session: saving.prepared_items(session, batch, pairs), done=batch.last - batch.first
    )


async def _nothing(job: Job) -> None:
    """A stage whose result does not matter here."""
    await job.save(lambda session: None)


async def _asks(job: Job) -> None:
    """A stage that puts two questions, one after the other."""
    for number in range(2):
        await job.context.chat(
            ChatRequest(
                purpose="names",
                messages=(Message("user", f"Name {number} of analysis {job.session.pk}"),),
                schema={
                    "type": "object",
                    "properties": {"name": {"type": "string"}},
                    "required": ["name"],
                },
                payload={},
                prompt_version="names-0",
            )
        )
    await job.save(lambda session: None)


class _Errors(logging.Handler):
    """What the product itself reports as an error is one."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        cause = record.exc_info[1] if record.exc_info else None
        if cause is not None and not isinstance(cause, AppError):
            self._world.faults.append(f"logged: {record.getMessage()} {cause!r}")


def _handlers() -> dict[str, Any]:
    return {
        key: _prepare if key == "prepare" else _asks if key == "name" else _nothing
        for key in stages.HANDLERS
    }


def _strftime(clock: Clock, other: sqlite3.Connection) -> Callable[..., Any]:
    def strftime(pattern: str, *moment: Any) -> Any:
        if moment == ("NOW",) and pattern == "%Y-%m-%d %H:%M:%f":
            now = clock.moment()
            return f"{now:%Y-%m-%d %H:%M:%S}.{now.microsecond // 1000:03d}"
        marks = ",".join("?" * (1 + len(moment)))
        return other.execute(f"SELECT strftime({marks})", (pattern, *moment)).fetchone()[0]

    return strftime


@contextlib.contextmanager
def world(stage: Stage, shape: Shape, seed: int) -> Iterator[World]:
    """A world in its first moment, on the current database connection."""
    made = World(stage, shape, random.Random(f"world {seed}"))
    raw = connection.connection
    stage.copy.backup(raw)
    other = sqlite3.connect(":memory:")
    errors = _Errors(made)
    jitter = random.Random(f"jitter {seed}")
    threads = SimpleNamespace(
        Event=lambda: Event(made.clock), Lock=threading.Lock, Thread=_thread_of(made)
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
        undo.enter_context(patch.object(dispatch, "STOP_POLL", 1.0))
        undo.enter_context(patch.object(timezone, "now", made.clock.moment))
        undo.enter_context(patch.object(plan, "batch_size", lambda total: shape.batch))
        undo.enter_context(patch.object(ports, "ScriptedClient", lambda **_: SimulatedClient(made)))
        undo.enter_context(patch.object(ports, "build", build_for))
        undo.enter_context(patch.dict(stages.HANDLERS, _handlers()))
        undo.enter_context(patch.object(sys, "unraisablehook", lambda _: None))
        undo.enter_context(_logging(errors))
        raw.create_function("STRFTIME", -1, _strftime(made.clock, other))
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


@contextlib.contextmanager
def _logging(handler: logging.Handler) -> Iterator[None]:
    log = logging.getLogger("openclio")
    before = log.propagate, log.level, log.handlers
    log.propagate, log.handlers = False, [handler]
    try:
        yield
    finally:
        log.propagate, log.level, log.handlers = before


def _thread_of(made: World) -> Callable[..., Any]:
    class Made:
        def __init__(self, target: Callable[[], None], name: str = "", daemon: bool = True):
            self._target, self._name = target, name

        def start(self) -> None:
            self._thread = Thread(made.acting, self._target, self._name)
            made.acting.threads.append(self._thread)

        def join(self, timeout: float | None = None) -> None:
            self._thread.finish()

        def is_alive(self) -> bool:
            return not self._thread.over

    return Made
