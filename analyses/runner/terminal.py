"""An analysis in a terminal: a worker here, one beside it for numbers, and a progress bar."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import sys
import time
from asyncio import FIRST_COMPLETED
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import NoReturn

from django.db import connections, transaction
from django.db.models import Count, Q, Sum
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from typing_extensions import override

from analyses import plan
from analyses.models import ENDED, AnalysisSession, SessionStatus
from analyses.runner.worker import Worker
from analyses.services.advance import advance, locked
from analyses.services.bulk import take_up
from core.figures import duration
from core.supervision import kernel
from providers.models import CallState, LlmCall
from providers.runner.collecting import collect_due
from providers.selectors.bulk import at_provider

log = logging.getLogger("openclio.worker")

LOOK_EVERY = 0.25
"""Seconds between looks at the analysis."""

TICK_EVERY = 2.0
"""Seconds between takings back of dead leases."""

GRACE = 2.5
"""Seconds for calls in flight to end after Ctrl-C; with all else the command ends within five."""

HELPER_GRACE = 1.0
"""Seconds for the second worker to give back what it holds."""

COLLECT_EVERY = 5.0
"""Seconds between looks at which batches at providers are to be asked about."""

LINE_EVERY = 5.0
"""Seconds between lines where the output is no terminal."""

STOPPED = ENDED | {SessionStatus.BLOCKED, SessionStatus.PAUSED}


class Interrupted(Exception):
    """The person ended the command before the analysis was over. What was saved is kept."""


def follow(session: AnalysisSession, abandon: Callable[[], NoReturn]) -> AnalysisSession:
    """Work on an analysis until it ends, blocks or is paused; returns its last state.

    Raises :class:`Interrupted` after Ctrl-C. Calls in flight get :data:`GRACE` seconds to end;
    when something will not, ``abandon`` must leave the process, and the next start asks again.
    """
    stopped = ENDED
    while session.status not in stopped:
        connections.close_all()
        helper = _helper(session)
        try:
            interrupted = asyncio.run(_follow(session.pk, helper, abandon))
        finally:
            _end(helper)
        if interrupted:
            raise Interrupted
        # A worker also ends when the machine slept past its leases; then another goes on.
        session.refresh_from_db()
        stopped = STOPPED
    return session


def _end(helper: BaseProcess) -> None:
    """Ask the other worker to stop, then make it. What it held is claimed again at once."""
    helper.terminate()
    helper.join(timeout=HELPER_GRACE)
    if helper.is_alive():
        helper.kill()
        helper.join()


def _helper(session: AnalysisSession) -> BaseProcess:
    """A forked worker for everything but reading, so that numbers do not slow down calls. It also
    fetches what providers answered in batches: it can be ended in the middle of that."""
    process = multiprocessing.get_context("fork").Process(
        target=_help,
        args=(session.pk, os.getpid(), bool(session.params.get("bulk"))),
        daemon=True,
    )
    process.start()
    return process


def _help(session_id: int, parent: int, batches: bool) -> None:
    kernel.die_with_parent(parent)
    if batches:
        Thread(target=_keep_collecting, daemon=True).start()
    stop = asyncio.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    worker = Worker(session_id=session_id, idle_exit=float("inf"), quit_when=stop.is_set)
    asyncio.run(worker.run())


def _keep_collecting() -> NoReturn:
    while True:
        try:
            collect()
        except Exception:
            log.exception("Batches at providers could not be looked at; they are looked at again.")
        time.sleep(COLLECT_EVERY)


def collect() -> None:
    """Look at the batches at providers whose turn it is, and let what waited for them go on."""
    collect_due()
    take_up()


async def _follow(session_id: int, helper: BaseProcess, abandon: Callable[[], NoReturn]) -> bool:
    """Work and watch; whether a signal ended it."""
    over, signalled = asyncio.Event(), asyncio.Event()
    worker = Worker(
        session_id=session_id,
        idle_exit=float("inf"),
        skip=frozenset({plan.PREVIEW}),
        quit_when=over.is_set,
    )

    def stop() -> None:
        signalled.set()
        over.set()

    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop)
    watching = asyncio.create_task(_watch(session_id, worker, over))
    working = asyncio.create_task(worker.run())
    await asyncio.wait(
        {working, asyncio.create_task(signalled.wait())}, return_when=FIRST_COMPLETED
    )
    if signalled.is_set():
        helper.terminate()
        await asyncio.wait({working}, timeout=GRACE)
        if not working.done():
            helper.kill()
            abandon()
    over.set()
    await asyncio.gather(working, watching)
    return signalled.is_set()


async def _watch(session_id: int, worker: Worker, over: asyncio.Event) -> None:
    """Show progress, take back dead leases, and end the worker when the analysis ends."""
    ticked = 0.0
    try:
        with _Bar() if sys.stderr.isatty() else _Lines() as show:
            while not over.is_set():
                if time.monotonic() - ticked > TICK_EVERY:
                    ticked = time.monotonic()
                    await worker.db(_tick, session_id)
                session, away = await worker.db(_load, session_id)
                show.update(session, away)
                if session.status in STOPPED:
                    return
                with suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), LOOK_EVERY)
    finally:
        over.set()


def _load(session_id: int) -> tuple[AnalysisSession, int]:
    """The analysis as it is now, with what it has cost so far, and how many of its conversations
    are in batches at a provider."""
    session = AnalysisSession.objects.prefetch_related("stages").get(pk=session_id)
    if session.chat_id:
        spent = LlmCall.objects.filter(analysis_id=session_id).aggregate(
            dollars=Sum("cost"), unpriced=Count("pk", filter=Q(cost=None, state=CallState.OK))
        )
        session.cost, session.unpriced_calls = spent["dollars"] or Decimal(0), spent["unpriced"]
    found = at_provider(session_id) if session.params.get("bulk") else None
    return session, found.calls if found else 0


def _tick(session_id: int) -> None:
    with transaction.atomic():
        advance(locked(session_id))


def _fraction(session: AnalysisSession) -> tuple[float, str]:
    """Share of the expected time that is done, and the stage at work."""
    stages = {stage.key: stage for stage in session.stages.all()}
    done, label = 0.0, "Finished"
    for step in plan.STAGES:
        stage = stages[step.key]
        part = 1.0 if stage.finished_at else stage.items_done / max(1, stage.items_total)
        done += step.weight * part
        if not stage.finished_at and label == "Finished":
            label = step.label
    return done / sum(step.weight for step in plan.STAGES), label


class _Rate:
    """Conversations a second over the last ten seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque(maxlen=40)

    def __call__(self, read: int) -> float:
        self._seen.append((time.monotonic(), read))
        (begin, low), (end, high) = self._seen[0], self._seen[-1]
        return (high - low) / (end - begin) if end > begin else 0.0


def _words(session: AnalysisSession, rate: float, away: int) -> str:
    left = (session.total - session.read_count - session.failed_count) / rate if rate else None
    parts = [f"{session.read_count:,} of {session.total:,}"]
    if away:
        parts.append(f"{away:,} in batches at the provider")
    if left:
        parts.append(f"{rate:.0f} a second")
        parts.append(f"{duration(left)} to read")
    cost = "unpriced" if session.unpriced_calls else f"${session.cost:.2f}"
    parts.append(f"cost {cost}" if session.chat_id else "no cost")
    return " · ".join(parts)


class _Bar:
    """A progress bar."""

    def __init__(self) -> None:
        self._rate = _Rate()
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=14),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[words]}"),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task("Waiting", total=1.0, words="")

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, session: AnalysisSession, away: int) -> None:
        """Redraw."""
        done, label = _fraction(session)
        words = _words(session, self._rate(session.read_count), away)
        self._progress.update(self._task, completed=done, description=label, words=words)


class _Lines(_Bar):
    """A line now and then, for logs."""

    def __init__(self) -> None:
        self._rate = _Rate()
        self._written = 0.0

    @override
    def __enter__(self) -> _Lines:
        return self

    @override
    def __exit__(self, *_: object) -> None:
        return None

    @override
    def update(self, session: AnalysisSession, away: int) -> None:
        """Write a line when the last one is old enough."""
        rate = self._rate(session.read_count)
        if time.monotonic() - self._written < LINE_EVERY:
            return
        self._written = time.monotonic()
        done, label = _fraction(session)
        sys.stderr.write(f"{done:4.0%} {label}: {_words(session, rate, away)}\n")
        sys.stderr.flush()
