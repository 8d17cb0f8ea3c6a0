"""Time, event loops and threads that move only when a schedule says so.

A simulated process runs the product's own worker: its event loop is :class:`Loop`, its threads are
greenlets that give way before each statement outside a transaction. SQLite lets one transaction
write at a time (BEGIN IMMEDIATE), so what two processes can do to each other happens exactly at
these points.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from greenlet import getcurrent, greenlet

START = datetime(2026, 3, 2, 9, tzinfo=UTC)


class Killed(BaseException):
    """The process is gone; unwinds its threads like SIGKILL does, without a chance to react."""


class Clock:
    """The time of the database and of every process. Stands in for the module ``time``."""

    CLOCK_BOOTTIME = time.CLOCK_BOOTTIME
    CLOCK_MONOTONIC = time.CLOCK_MONOTONIC

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def perf_counter(self) -> float:
        return self.now

    def clock_gettime(self, _which: int) -> float:
        return self.now

    def time(self) -> float:
        return START.timestamp() + self.now

    def time_ns(self) -> int:
        return int(self.time() * 1e9)

    def moment(self) -> datetime:
        return START + timedelta(seconds=round(self.now, 6))

    def sleep(self, seconds: float) -> None:
        Thread.current().rest(self.now + seconds)


class Thread:
    """A thread of a simulated process."""

    _by_greenlet: dict[greenlet, Thread] = {}

    def __init__(self, process: Any, act: Callable[[], None], name: str) -> None:
        self.process = process
        self.name = name
        self.notes: dict[str, Any] = {}
        self.wake_at: float | None = None
        self.wanted: Callable[[], bool] | None = None
        self.urgent = False
        self.dying = False
        self._act = act
        self._greenlet = greenlet(self._run)

    @classmethod
    def current(cls) -> Thread:
        return cls._by_greenlet[getcurrent()]

    @classmethod
    def current_or_none(cls) -> Thread | None:
        return cls._by_greenlet.get(getcurrent())

    @property
    def over(self) -> bool:
        return self._greenlet.dead

    def ready(self, now: float) -> bool:
        """Whether it would go on if it were given the processor."""
        if self.wake_at is None:
            return True
        return now >= self.wake_at or (self.wanted is not None and self.wanted())

    def go_on(self) -> None:
        """Run until it gives way or ends."""
        loop = asyncio._get_running_loop()
        asyncio._set_running_loop(None)  # a thread is outside the loop that waits for it
        self._greenlet.parent = getcurrent()
        try:
            self._greenlet.switch()
        finally:
            asyncio._set_running_loop(loop)

    def give_way(self) -> None:
        """Called by itself: let others go first."""
        if not self.urgent:
            self._greenlet.parent.switch()
        if self.dying:
            raise Killed

    def rest(self, until: float, wanted: Callable[[], bool] | None = None) -> None:
        """Called by itself: sleep until a time, or until something is wanted."""
        self.wake_at, self.wanted = until, wanted
        self._greenlet.parent.switch()
        self.wake_at, self.wanted = None, None
        if self.dying:
            raise Killed

    def finish(self) -> None:
        """Run to the end without giving way."""
        self.urgent = True
        while not self.over:
            self.go_on()

    def die(self) -> None:
        """Unwind, unless it is the one that runs now: then it ends at its next statement."""
        self.dying = True
        if self.over or getcurrent() is self._greenlet:
            return
        if not self._greenlet:  # never began
            self._act = lambda: None
        self._greenlet.parent = getcurrent()
        self._greenlet.switch()

    def _run(self) -> None:
        self._by_greenlet[self._greenlet] = self
        try:
            if not self.dying:
                self._act()
        except Killed:
            self.dying = True
        finally:
            del self._by_greenlet[self._greenlet]


class Event:
    """Stands in for ``threading.Event``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._set = False

    def set(self) -> None:
        self._set = True

    def clear(self) -> None:
        self._set = False

    def is_set(self) -> bool:
        return self._set

    def wait(self, timeout: float | None = None) -> bool:
        if not self._set:
            until = float("inf") if timeout is None else self._clock.now + timeout
            Thread.current().rest(until, self.is_set)
        return self._set


class Executor:
    """Stands in for ``ThreadPoolExecutor`` with one thread: jobs in order, one after the other."""

    def __init__(self, process: Any, name: str) -> None:
        self.process = process
        self.name = name
        self._waiting: deque[tuple[Callable[[], Any], Callable[[Any, BaseException | None], None]]]
        self._waiting = deque()
        self.thread: Thread | None = None

    def put(
        self, act: Callable[[], Any], tell: Callable[[Any, BaseException | None], None]
    ) -> None:
        self._waiting.append((act, tell))

    def submit(self, act: Callable[..., Any], *args: Any) -> _Result:
        result = _Result(self)
        self.put(lambda: act(*args), result.tell)
        return result

    def shutdown(self, wait: bool = True) -> None:
        while wait and self.begin():
            self.run_all()

    def begin(self) -> Thread | None:
        """The thread with the job at the head, if there is one."""
        if self.thread is not None and self.thread.over:
            self.thread = None
        if self.thread is None and self._waiting:
            act, tell = self._waiting.popleft()
            self.thread = Thread(self.process, lambda: self._do(act, tell), self.name)
        return self.thread

    def run_all(self) -> None:
        while (thread := self.begin()) is not None:
            thread.finish()

    def _do(
        self, act: Callable[[], Any], tell: Callable[[Any, BaseException | None], None]
    ) -> None:
        try:
            value = act()
        except Exception as error:  # noqa: BLE001 - goes to whoever waits
            tell(None, error)
        else:
            tell(value, None)


class _Result:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._got: tuple[Any, BaseException | None] | None = None

    def tell(self, value: Any, error: BaseException | None) -> None:
        self._got = (value, error)

    def result(self, timeout: float | None = None) -> Any:
        self._executor.run_all()
        assert self._got is not None
        value, error = self._got
        if error is not None:
            raise error
        return value


class Loop(asyncio.AbstractEventLoop):
    """An event loop that turns when it is told to. A turn runs everything that is due."""

    def __init__(self, clock: Clock, complain: Callable[[dict[str, Any]], None]) -> None:
        self._clock = clock
        self._complain = complain
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = itertools.count()
        self._tasks: list[asyncio.Task[Any]] = []

    # --- what asyncio asks of a loop ------------------------------------------------------

    def time(self) -> float:
        return self._clock.now

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> Any:
        return self.call_soon(callback, *args, context=context)

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._order), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        return

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> Any:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        return task

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:
        future = self.create_future()

        def tell(value: Any, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is not None:
                self.call_soon(_fail, future, error)
            else:
                self.call_soon(_resolve, future, value)

        executor.put(lambda: func(*args), tell)
        return future

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self._complain(context)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self._complain(context)

    # --- what a schedule does with it -----------------------------------------------------

    def busy(self) -> bool:
        """Whether anything is due."""
        due = self.next_timer()
        return bool(self._ready) or (due is not None and due <= self._clock.now)

    def next_timer(self) -> float | None:
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def close_tasks(self) -> None:
        """Let go of what will never run again."""
        for task in self._tasks:
            if not task.done():
                with contextlib.suppress(BaseException):
                    task.get_coro().close()
        self._tasks.clear()

    def turn(self) -> None:
        """Run everything that is due, and what follows from it at once."""
        while (due := self.next_timer()) is not None and due <= self._clock.now:
            self._ready.append(heapq.heappop(self._timers)[2])
        asyncio._set_running_loop(self)
        try:
            for _ in range(10_000):
                if not self._ready:
                    return
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
            raise AssertionError("the loop never comes to rest")
        finally:
            asyncio._set_running_loop(None)


def _resolve(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
