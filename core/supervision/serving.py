"""What `manage.py serve` runs, and how it tells that all of it is ready."""

import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from types import FrameType

from django.conf import settings
from django.core.management.base import CommandError
from django.db import connection

from core import q2
from core.supervision.supervisor import Service, Supervisor
from core.supervision.warmth import is_warm
from core.supervision.watch import Watch

# Libraries that would start a thread per core in every worker, where one analysis already keeps
# several workers busy.
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)

# glibc gives every thread a heap of its own, up to eight a core; what one frees the others cannot use.
ONE_HEAP = {"MALLOC_ARENA_MAX": "2"}

# Seconds.
KEEP_CONNECTIONS = 60
PROBE_EVERY = 0.25
PROBE_WAIT = 2.0

FIRST_VISIT = "first-visit"


def first_owner_line(path: str, base: str) -> str:
    """What is printed about the one-time link at `path`."""
    return f"First visit, a link good for one use: {base}{path}"


def leave_first_visit(path: str) -> None:
    """Keep the link for the `serve` that follows: only its hash is in the database."""
    note = settings.RUN_DIR / FIRST_VISIT
    note.unlink(missing_ok=True)
    settings.RUN_DIR.mkdir(parents=True, exist_ok=True)
    note.touch(mode=0o600)
    note.write_text(path, "utf-8")


def take_first_visit() -> str:
    """The link that `setup` left, once; empty when there is none."""
    note = settings.RUN_DIR / FIRST_VISIT
    if not note.is_file():
        return ""
    path: str = note.read_text("utf-8")
    note.unlink()
    return path


def address(host: str, port: int) -> str:
    """The address a person opens; a wildcard host is reached through the loopback."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
    if ":" in shown:
        shown = f"[{shown}]"
    return f"http://{shown}:{port}"


def check_port(host: str, port: int) -> None:
    """Raise CommandError with the way out when `port` cannot be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise CommandError(
                    f"Port {port} is taken by another program. Stop that one, or choose another "
                    f"port: make run PORT={port + 1}"
                ) from error
            raise CommandError(f"Cannot listen on {host}:{port}: {error.strerror}.") from error


class Serving:
    """One installation on this host: a web process, a pool of workers, and their supervisor."""

    def __init__(
        self, *, host: str, port: int, workers: int, web: bool, say: Callable[[str], None]
    ) -> None:
        self._host, self._port, self._workers, self._web, self._say = host, port, workers, web, say
        self._pool = f"{socket.gethostname()}-{os.getpid()}"
        self._supervisor = Supervisor([*self._web_services(), *self._pool_services()])
        self._next_probe = 0.0
        self._ready = False

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        watch = Watch(
            pool=self._pool,
            workers=self._workers,
            replace=lambda: self._supervisor.restart("workers"),
            who=lambda: self._supervisor.pid("workers"),
        )
        # A database connection must not be shared with the processes started from here on.
        connection.close()
        watch.start()
        try:
            self._supervisor.run(each=self._until_ready)
        finally:
            watch.end()
        self._say("Stopped.")

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._supervisor.stop()

    def _web_services(self) -> list[Service]:
        if not self._web:
            return []
        command = [sys.executable, "-m", "daphne", "-v", "0", "-b", self._host]
        command += ["-p", str(self._port), "--server-name", "openclio"]
        if settings.TRUSTED_PROXIES:
            command += ["--proxy-headers"]
        environment = {**_in_checkout(), "WORKERS": str(self._workers or settings.WORKERS)}
        return [Service("web", [*command, "config.asgi:application"], environment)]

    def _pool_services(self) -> list[Service]:
        if not self._workers:
            return []
        environment = {
            **ONE_THREAD,
            **ONE_HEAP,
            **_in_checkout(),
            q2.POOL_VARIABLE: self._pool,
            "WORKERS": str(self._workers),
            "DATABASE_KEEP_SECONDS": str(KEEP_CONNECTIONS),
        }
        services = [Service("workers", [sys.executable, _manage(), "pool"], environment)]
        if not is_warm():
            warm = [sys.executable, _manage(), "warm"]
            services.append(Service("warm-up", warm, environment, once=True))
        return services

    def _until_ready(self) -> None:
        """Probe until the web process answers, then say so once."""
        now = time.monotonic()
        if self._ready or now < self._next_probe:
            return
        self._next_probe = now + PROBE_EVERY
        if self._web and not _answers(self._host, self._port):
            return
        self._ready = True
        if not self._web:
            self._say(f"OpenClio works here with {self._workers} workers. Ctrl-C stops it.")
            return
        base = address(self._host, self._port)
        self._say(f"OpenClio is ready: {base}/   Ctrl-C stops it.")
        if path := take_first_visit():
            self._say(first_owner_line(path, base))


def _manage() -> str:
    return str(settings.BASE_DIR / "manage.py")


def _in_checkout() -> dict[str, str]:
    """Let programs find our packages wherever `serve` was started from."""
    found = [str(settings.BASE_DIR), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, found))}


def _answers(host: str, port: int) -> bool:
    shown = address(host, port).removeprefix("http://")
    probe = HTTPConnection(shown, timeout=PROBE_WAIT)
    try:
        probe.request("GET", "/live", headers={"Host": settings.ALLOWED_HOSTS[0].lstrip(".*")})
        return probe.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        probe.close()
