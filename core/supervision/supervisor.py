"""Runs a few programs, each in its own session, and answers for all of their descendants."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from core.supervision import kernel

logger = logging.getLogger(__name__)

LAUNCHER = Path(__file__).with_name("launch.py")

# Seconds. Everything must be gone within five of a stop: 3.5 to end in order, the rest to be killed
# and reaped.
GRACE = 3.5
KILL_WAIT = 1.0
LOOK_EVERY = 0.05
BACKOFF_FIRST = 0.5
BACKOFF_MOST = 10.0
# A program that stayed up this long is taken to work: its next death starts the backoff anew.
STEADY_AFTER = 30.0


@dataclass(frozen=True)
class Service:
    """A program to keep running. `once` programs may end by themselves and are not restarted."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    once: bool = False


@dataclass
class _Running:
    service: Service
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    deaths: int = 0


class Supervisor:
    """Start with `run()`; end with `stop()`, from a signal handler or another thread."""

    def __init__(self, services: Sequence[Service]) -> None:
        self._slots = {service.name: _Running(service) for service in services}
        self._stopping = False
        self._hurry = False
        self._restart: set[str] = set()

    # --- Called from anywhere ------------------------------------------------------------------

    def stop(self) -> None:
        """Ask for the end. Asked twice, nothing is waited for."""
        self._hurry = self._stopping
        self._stopping = True

    def restart(self, name: str) -> None:
        """Kill the whole group of one program and start it anew at once."""
        self._restart.add(name)

    def add(self, service: Service) -> None:
        """Run one more program from now on."""
        self._slots[service.name] = _Running(service)

    @property
    def stopping(self) -> bool:
        """True once the end was asked for."""
        return self._stopping

    def pid(self, name: str) -> int | None:
        """The process id of a program while it runs."""
        process = self._slots[name].process
        return process.pid if process else None

    # --- The loop; programs are only ever started from the thread that calls it -------------------

    def run(self, each: Callable[[], None] = lambda: None) -> None:
        """Keep everything running until `stop()`; `each` is called at every look (20 a second).

        The kernel ties a child to the *thread* that started it, hence one thread for all starts.
        """
        kernel.adopt_orphans()
        try:
            while not self._stopping:
                self._look()
                each()
                time.sleep(LOOK_EVERY)
        finally:
            self._stop_all()

    def _look(self) -> None:
        self._reap()
        now = time.monotonic()
        for slot in list(self._slots.values()):
            if slot.service.name in self._restart:
                self._restart.discard(slot.service.name)
                self._end_group(slot)
                slot.start_at = now
            if slot.process is None and slot.start_at <= now:
                self._start(slot)

    def _start(self, slot: _Running) -> None:
        slot.started_at = time.monotonic()
        slot.process = subprocess.Popen(  # noqa: S603  # our own programs, no shell
            [sys.executable, "-S", "-E", str(LAUNCHER), str(os.getpid()), *slot.service.command],
            env={**os.environ, **slot.service.environment},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        logger.debug("Started %s as process %s.", slot.service.name, slot.process.pid)

    def _reap(self) -> None:
        """Collect every ended child, ours and adopted ones, and plan what must start again."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for slot in self._slots.values():
                if slot.process is not None and slot.process.pid == pid:
                    slot.process.returncode = os.waitstatus_to_exitcode(status)
                    self._died(slot)

    def _died(self, slot: _Running) -> None:
        code = slot.process.returncode if slot.process else 0
        self._end_group(slot)
        if self._stopping:
            return
        if slot.service.once:
            slot.start_at = float("inf")
            if code:
                logger.warning("%s ended with code %s.", slot.service.name, code)
            return
        now = time.monotonic()
        slot.deaths = 1 if now - slot.started_at > STEADY_AFTER else slot.deaths + 1
        wait = min(BACKOFF_FIRST * 2 ** (slot.deaths - 1), BACKOFF_MOST)
        slot.start_at = now + wait
        logger.warning(
            "%s ended with code %s; starting it again in %.1f s.", slot.service.name, code, wait
        )

    def _end_group(self, slot: _Running) -> None:
        """Kill what is left of a program's group and wait until it is gone."""
        if slot.process is None:
            return
        _signal_group(slot.process.pid, signal.SIGKILL)
        limit = time.monotonic() + KILL_WAIT
        while _group_exists(slot.process.pid) and time.monotonic() < limit:
            self._collect_silently(slot)
            time.sleep(0.01)
        self._collect_silently(slot)
        slot.process = None

    @staticmethod
    def _collect_silently(slot: _Running) -> None:
        """Reap members of one group, whose zombies would keep it alive."""
        assert slot.process is not None
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-slot.process.pid, os.WNOHANG)
                if pid == 0:
                    return
                if pid == slot.process.pid:
                    slot.process.returncode = os.waitstatus_to_exitcode(status)

    def _stop_all(self) -> None:
        """Ask each program, wait, then kill whatever is left, descendants included."""
        self._stopping = True
        for slot in self._running():
            # The leader only: it knows how to end its own children in order.
            assert slot.process is not None
            with suppress(ProcessLookupError):
                os.kill(slot.process.pid, signal.SIGTERM)
        limit = time.monotonic() + GRACE
        while self._running() and time.monotonic() < limit and not self._hurry:
            self._reap()
            time.sleep(LOOK_EVERY)
        for slot in self._running():
            self._end_group(slot)

    def _running(self) -> list[_Running]:
        return [slot for slot in self._slots.values() if slot.process is not None]


def _signal_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
