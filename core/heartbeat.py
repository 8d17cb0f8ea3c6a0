"""Keeps leases alive from a thread and a database connection of its own."""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable

from django.db import Error, connection

from core import q2, work
from core.crashpoints import reach
from core.models import LeasedWork

log = logging.getLogger("openclio.work")

SELF_FENCE_SECONDS = 24.0
"""Without a renewal for this long (0.8 of a lease) the holder must stop issuing work."""

LEAVE_AFTER = 10.0
"""Seconds a worker of a pool may hang on to leases it could not renew before its process ends.

A process that was frozen gets them too, so that answers that were on their way are still kept."""

LOOK_EVERY = 0.5
"""Seconds between looks at the time of the last renewal."""


def leave() -> None:
    """End this process at once, and say where each of its threads was.

    Only in a pool, whose supervisor replaces the process; elsewhere a person sees what hangs.
    """
    if not q2.pool_name():
        return
    log.critical("No lease could be renewed and the work does not end; leaving this process.")
    faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr, all_threads=True)
    os._exit(1)


class Heartbeat:
    """Renews what is held; calls ``lost(work)`` once for each lease that is gone.

    ``CLOCK_BOOTTIME`` counts the time a machine was asleep, which the monotonic clock does not.
    """

    def __init__(self, lost: Callable[[LeasedWork], None]) -> None:
        self._lost = lost
        self._held: dict[tuple[type[LeasedWork], int], LeasedWork] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._soon = threading.Event()
        self._renewed = _boot_time()
        self._tripped = False
        self._overdue = 0.0
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._fence = threading.Thread(target=self._watch, name="self-fence", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()
        self._fence.start()

    def stop(self) -> None:
        """End; leases not given back will run out."""
        self._stop.set()
        self._soon.set()
        for thread in (self._thread, self._fence):
            thread.join(timeout=5)

    def hold(self, item: LeasedWork) -> None:
        """Keep this claim alive."""
        with self._lock:
            if not self._held:
                self._renewed = _boot_time()
            self._held[(type(item), item.pk)] = item

    def drop(self, item: LeasedWork) -> None:
        """The claim has ended."""
        with self._lock:
            self._held.pop((type(item), item.pk), None)

    @property
    def safe(self) -> bool:
        """Whether what is held is certainly still ours, and always was.

        Once it was not, it stays so: after a long sleep nothing that was waiting may begin.
        """
        if not self.renewing:
            self._tripped = True
        return not self._tripped

    @property
    def renewing(self) -> bool:
        """Whether what is held was renewed lately: leases that are left are certainly ours."""
        with self._lock:
            if not self._held:
                return True
            return _boot_time() - self._renewed < SELF_FENCE_SECONDS

    @property
    def hopeless(self) -> bool:
        """Whether leases could not be renewed for so long that they can hardly be given back."""
        return self._overdue > LEAVE_AFTER / 2

    def _run(self) -> None:
        while not self._stop.is_set():
            self._soon.wait(work.RENEW_EVERY)
            self._soon.clear()
            if self._stop.is_set():
                return
            try:
                self._renew()
            except Error:
                log.warning("Leases could not be renewed; trying again.")
            finally:
                connection.close()

    def _renew(self) -> None:
        with self._lock:
            held = dict(self._held)
        begun = _boot_time()
        models = {model for model, _ in held}
        for model in models:
            fences = {pk: item.fence for (kind, pk), item in held.items() if kind is model}
            for pk in work.renew(model, fences):
                self._report(held[(model, pk)])
        reach("during_renew")
        with self._lock:
            # What was first held meanwhile is younger than the renewal.
            self._renewed = max(self._renewed, begun)

    def _report(self, item: LeasedWork) -> None:
        with self._lock:
            mine = self._held.pop((type(item), item.pk), None)
        if mine is not None:
            log.warning("The lease of %s %s is lost.", type(item).__name__, item.pk)
            self._lost(item)

    def _watch(self) -> None:
        """Beside the renewing thread, which may itself hang in the database."""
        while not self._stop.wait(LOOK_EVERY):
            if self.safe or self.renewing:
                self._overdue = 0.0
                continue
            self._soon.set()
            # Counted in looks: a process that was frozen has not had this time yet.
            self._overdue += LOOK_EVERY
            if self._overdue > LEAVE_AFTER:
                leave()
                return


def _boot_time() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
