"""The one door to django-q2, which only wakes and holds worker processes.

State lives in our own tables with leases, so losing or doubling a task is harmless. The guards
here and in `core.supervision` answer what was measured on django-q2 1.11: a killed idle worker can
stop the whole pool for good, a killed guard leaves its workers running, and a cluster that is told
to stop first runs all that it fetched.
"""

import logging
import mmap
import os
import time
from datetime import datetime
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
from django.conf import settings
from django.utils import timezone
from django_q.brokers.orm import ORM
from django_q.cluster import Cluster
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.signals import post_execute_in_worker, pre_execute
from django_q.tasks import async_task
from typing_extensions import override

from core.supervision import kernel

logger = logging.getLogger(__name__)

POOL_VARIABLE = "OPENCLIO_POOL"

# One byte shared by all processes of a pool, made before they fork. Reading and writing a byte
# needs no lock, so a worker that is killed while it looks cannot block the others.
_drain = mmap.mmap(-1, 1)


class Broker(ORM):  # type: ignore[misc]  # django-q2 is untyped
    """The queue in the database: what is for everybody, and what is for this pool alone."""

    @override
    def dequeue(self) -> list[tuple[int, str]]:
        """One task that waits, locked; empty after a pause when there is none."""
        mine = [self.list_key, pool_name() or self.list_key]
        rows = self.get_connection().filter(key__in=mine, lock__lt=timezone.now())
        row = rows.order_by("pk").first()
        if row is None:
            time.sleep(Conf.POLL)
            return []
        same = self.get_connection().filter(pk=row.pk, lock=row.lock)
        return [(row.pk, row.payload)] if same.update(lock=self.timeout(row)) else []


def wake(task: str, *args: int | str, only: str = "") -> None:
    """Queue `task`, a dotted path, with ids or names as arguments; `only` names the one pool that
    may take it.

    Inside a transaction the task becomes visible with its commit and is gone after a rollback,
    because the queue is a table of the same database.
    """
    async_task(task, *args, cluster=only or settings.Q_CLUSTER["name"])


def waiting() -> int:
    """How many queued tasks for everybody no pool has fetched yet."""
    everybody = OrmQ.objects.filter(key=settings.Q_CLUSTER["name"])
    count: int = everybody.filter(lock__lte=timezone.now()).count()
    return count


def forget_lost(before: datetime) -> None:
    """Drop what was queued before that time for one pool alone: the pool is gone."""
    OrmQ.objects.exclude(key=settings.Q_CLUSTER["name"]).filter(lock__lt=before).delete()


def draining() -> bool:
    """True in a worker whose pool was told to stop: begin nothing new, give leases back."""
    return _drain[0] != 0


def pool_name() -> str:
    """The name that the supervisor gave to this pool; empty outside a pool."""
    return os.environ.get(POOL_VARIABLE, "")


class Pool(Cluster):  # type: ignore[misc]  # django-q2 is untyped
    """A cluster that tells its workers before it waits for them."""

    @override
    def sig_handler(self, signum: int, frame: FrameType | None) -> None:
        """Raise the drain flag, then let django-q2 empty the pool."""
        _drain[0] = 1
        super().sig_handler(signum, frame)


def hold_workers() -> None:
    """Run a pool in this process until it is told to stop; `manage.py pool` calls it."""
    kernel.die_with_parent_in_every_fork()
    _forget_busy()
    pre_execute.connect(_begin, dispatch_uid="core.q2.begin", weak=False)
    post_execute_in_worker.connect(_end, dispatch_uid="core.q2.end", weak=False)
    _preload()
    Pool().start()


def busy_workers(pool: str) -> int:
    """How many workers of `pool` hold a task now and are able to get on with it.

    A worker that is stopped, dead, or older on its task than any task may get does not count.
    """
    return sum(_is_busy(marker) for marker in _markers(pool))


def _markers(pool: str) -> list[Path]:
    return list(settings.RUN_DIR.glob(f"busy-{pool}-*"))


def _marker() -> Path:
    path: Path = settings.RUN_DIR / f"busy-{pool_name()}-{os.getpid()}"
    return path


def _begin(**_: Any) -> None:
    _marker().touch()


def _end(**_: Any) -> None:
    _marker().unlink(missing_ok=True)


def _forget_busy() -> None:
    settings.RUN_DIR.mkdir(parents=True, exist_ok=True)
    for marker in _markers(pool_name()):
        marker.unlink(missing_ok=True)


def _is_busy(marker: Path) -> bool:
    try:
        begun = marker.stat().st_mtime
        status = psutil.Process(int(marker.name.rpartition("-")[2])).status()
    except (OSError, ValueError, psutil.Error):
        return False
    stuck = {psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP, psutil.STATUS_ZOMBIE}
    return status not in stuck and time.time() - begun < settings.TASK_SECONDS + 10


def _preload() -> None:
    """Import what every worker needs once, before the fork, so that a first task starts at once."""
    for module in settings.POOL_PRELOAD:
        try:
            import_module(module)
        except ImportError:
            # The worker that needs it fails with the same message, and is seen there.
            logger.exception("Could not import %s ahead of the workers.", module)
