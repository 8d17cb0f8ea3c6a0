"""Keeps leases alive from a thread and a database connection of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from django.db import Error, connection

from core import work
from core.models import LeasedWork

log = logging.getLogger("openclio.work")

SELF_FENCE_SECONDS = 24.0
"""Without a renewal for this long (0.8 of a lease) the holder must stop issuing work."""


class Heartbeat:
    """Renews what is held; calls ``lost(work)`` once for each lease that is gone.

    ``CLOCK_BOOTTIME`` counts the time a machine was asleep, which the monotonic clock does not.
    """

    def __init__(self, lost: Callable[[LeasedWork], None]) -> None:
        self._lost = lost
        self._held: dict[tuple[type[LeasedWork], int], LeasedWork] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._renewed = time.clock_gettime(time.CLOCK_BOOTTIME)
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def stop(self) -> None:
        """End; leases not given back will run out."""
        self._stop.set()
        self._thread.join(timeout=5)

    def hold(self, item: LeasedWork) -> None:
        """Keep this claim alive."""
        with self._lock:
            if not self._held:
                self._renewed = time.clock_gettime(time.CLOCK_BOOTTIME)
            self._held[(type(item), item.pk)] = item

    def drop(self, item: LeasedWork) -> None:
        """The claim has ended."""
        with self._lock:
            self._held.pop((type(item), item.pk), None)

    @property
    def safe(self) -> bool:
        """Whether what is held is certainly still ours."""
        with self._lock:
            if not self._held:
                return True
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self._renewed < SELF_FENCE_SECONDS

    def _run(self) -> None:
        while not self._stop.wait(work.RENEW_EVERY):
            try:
                self._renew()
            except Error:
                log.warning("Leases could not be renewed; trying again.")
            finally:
                connection.close()

    def _renew(self) -> None:
        with self._lock:
            held = dict(self._held)
        models = {model for model, _ in held}
        for model in models:
            fences = {pk: item.fence for (kind, pk), item in held.items() if kind is model}
            for pk in work.renew(model, fences):
                self._report(held[(model, pk)])
        self._renewed = time.clock_gettime(time.CLOCK_BOOTTIME)

    def _report(self, item: LeasedWork) -> None:
        with self._lock:
            mine = self._held.pop((type(item), item.pk), None)
        if mine is not None:
            log.warning("The lease of %s %s is lost.", type(item).__name__, item.pk)
            self._lost(item)
