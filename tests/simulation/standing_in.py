"""Simulated time, threads, queue and provider in the places of the real ones."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from analyses.pipeline.base import ChatRequest, Message
from analyses.pipeline.records import Prepared, Turn
from analyses.runner import saving, stages
from analyses.runner.job import Job
from analyses.runner.sources import sources
from core.errors import AppError
from tests.simulation.virtual import Clock, Thread

if TYPE_CHECKING:
    from tests.simulation.world import World

PRODUCT = ("core", "accounts", "providers", "projects", "templates_app", "analyses")


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


def strftime(clock: Clock, other: sqlite3.Connection) -> Callable[..., Any]:
    def strftime(pattern: str, *moment: Any) -> Any:
        if moment == ("NOW",) and pattern == "%Y-%m-%d %H:%M:%f":
            now = clock.moment()
            return f"{now:%Y-%m-%d %H:%M:%S}.{now.microsecond // 1000:03d}"
        marks = ",".join("?" * (1 + len(moment)))
        return other.execute(f"SELECT strftime({marks})", (pattern, *moment)).fetchone()[0]

    return strftime


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


def handlers() -> dict[str, Any]:
    return {
        key: _prepare if key == "prepare" else _asks if key == "name" else _nothing
        for key in stages.HANDLERS
    }


class Errors(logging.Handler):
    """What the product itself reports as an error is one."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        cause = record.exc_info[1] if record.exc_info else None
        if cause is not None and not isinstance(cause, AppError):
            self._world.faults.append(f"logged: {record.getMessage()} {cause!r}")


@contextlib.contextmanager
def keep_log(handler: logging.Handler) -> Iterator[None]:
    log = logging.getLogger("openclio")
    before = log.propagate, log.level, log.handlers
    log.propagate, log.handlers = False, [handler]
    try:
        yield
    finally:
        log.propagate, log.level, log.handlers = before


def thread_of(made: World) -> Callable[..., Any]:
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
