"""Watches a pool of workers from outside, and ticks what the product must look at regularly."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import close_old_connections
from django.utils import timezone
from django.utils.module_loading import import_string
from typing_extensions import override

from core import database, q2
from core.models import Beat
from core.tasks import CANARY_PREFIX

logger = logging.getLogger(__name__)

# Seconds.
CANARY_EVERY = 4.0
PATIENCE = 15.0
# For the first answer of a pool that was just started: a busy machine takes its time, and a pool
# that is replaced while it starts never gets to work.
START_PATIENCE = 60.0
TICK_EVERY = 2.0
LOOK_EVERY = 0.5
SAY_AGAIN_AFTER = 60.0


class Canary:
    """Tells whether a pool still takes tasks, although its processes look alive.

    One small task at a time is sent; a pool that leaves it lying for `patience` seconds hangs.
    While every worker holds a task there is nobody to take it, so that time does not count.
    `who` tells one start of the pool from the next; the first answer may take longer.
    """

    def __init__(
        self,
        *,
        send: Callable[[], None],
        last_answer: Callable[[], datetime | None],
        all_busy: Callable[[], bool],
        who: Callable[[], object] = lambda: "the pool",
        clock: Callable[[], float] = time.monotonic,
        patience: float = PATIENCE,
        interval: float = CANARY_EVERY,
    ) -> None:
        self._send, self._last_answer, self._all_busy = send, last_answer, all_busy
        self._who, self._known, self._limit = who, object(), START_PATIENCE
        self._clock, self._patience, self._interval = clock, patience, interval
        self._before: datetime | None = None
        self._waiting_since: float | None = None
        self._next = clock()

    def hangs(self) -> bool:
        """Look once; True exactly when the pool must be replaced."""
        try:
            return self._look()
        except Exception:
            # No verdict on the pool while the database does not answer.
            self._waiting_since = None
            raise

    def _look(self) -> bool:
        now = self._clock()
        if (who := self._who()) != self._known:
            self._known, self._limit = who, START_PATIENCE
            self._waiting_since, self._next = None, now
        if self._waiting_since is None:
            if now >= self._next:
                self._before = self._last_answer()
                self._send()
                self._waiting_since = now
            return False
        if self._last_answer() != self._before:
            self._waiting_since, self._next = None, now + self._interval
            self._limit = self._patience
            return False
        if self._all_busy():
            self._waiting_since = now
            return False
        if now - self._waiting_since <= self._limit:
            return False
        self._waiting_since, self._next = None, now
        return True


class Watch(threading.Thread):
    """Ticks and canaries in the supervisor's process, beside its loop.

    A thread, because a locked database may hold a query for many seconds, and the loop must stop
    everything within five. `replace` is called when `pool` with its number of workers
    hangs; `who` changes whenever it was started anew. Without workers there are only ticks.
    """

    def __init__(
        self, *, pool: str, workers: int, replace: Callable[[], None], who: Callable[[], object]
    ) -> None:
        super().__init__(name="watch", daemon=True)
        self._beat_name = f"{CANARY_PREFIX}{pool}"
        self._replace = replace
        self._has_pool = workers > 0
        self._ended = threading.Event()
        self._canary = Canary(
            send=lambda: q2.wake("core.tasks.canary", pool, only=pool),
            last_answer=self._last_answer,
            all_busy=lambda: q2.busy_workers(pool) >= workers,
            who=who,
        )

    @override
    def run(self) -> None:
        """Look until `end()`; an error is logged and never ends the watch."""
        guarded = _Guard()
        guarded(_forget_old_beats)
        ticks = _ticks(settings.SUPERVISOR_TICKS)
        next_tick = 0.0
        while not self._ended.wait(LOOK_EVERY):
            if time.monotonic() >= next_tick:
                for tick in ticks:
                    guarded(tick)
                next_tick = time.monotonic() + TICK_EVERY
            guarded(self._look)

    def end(self) -> None:
        """Stop looking; a query under way is not waited for."""
        self._ended.set()

    def _look(self) -> None:
        if self._has_pool and self._canary.hangs() and not self._ended.is_set():
            logger.warning("The workers take no tasks although they look alive; replacing them.")
            self._replace()

    def _last_answer(self) -> datetime | None:
        return Beat.objects.filter(name=self._beat_name).values_list("beat_at", flat=True).first()


def _ticks(paths: Sequence[str]) -> list[Callable[[], object]]:
    found: list[Callable[[], object]] = []
    for path in paths:
        try:
            found.append(import_string(path))
        except ImportError:
            logger.exception("The tick %s cannot be imported.", path)
    return found


class _Guard:
    """Calls what may fail, and says so without filling the log with one fault."""

    def __init__(self) -> None:
        self._said: dict[object, tuple[str, float]] = {}

    def __call__(self, call: Callable[[], object]) -> None:
        close_old_connections()
        try:
            call()
        except Exception as error:  # the watch must outlive whatever goes wrong in one look
            if self._is_news(call, repr(error)):
                if plain := database.in_words(error):
                    logger.error(plain)
                else:
                    logger.exception("A regular task of the supervisor failed; it is tried again.")
        else:
            self._said.pop(call, None)
        finally:
            close_old_connections()

    def _is_news(self, call: object, fault: str) -> bool:
        before, when = self._said.get(call, ("", 0.0))
        if fault == before and time.monotonic() - when < SAY_AGAIN_AFTER:
            return False
        self._said[call] = (fault, time.monotonic())
        return True


def _forget_old_beats() -> None:
    """Beats of pools that were replaced by a later start carry no news."""
    day_ago = timezone.now() - timedelta(days=1)
    Beat.objects.filter(name__startswith=CANARY_PREFIX, beat_at__lt=day_ago).delete()
    q2.forget_lost(day_ago)
