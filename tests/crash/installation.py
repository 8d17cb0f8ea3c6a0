"""A real installation on a data directory and a port of its own."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

import psutil

from core.supervision.warmth import _versions
from tests.crash.database import Database

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 2

ASIDE = "OPENCLIO_TEST_ASIDE"
"""Marks processes of the test itself, which are no members of the installation."""


def wait_for(look, seconds, what):
    """Poll until `look()` is true; fail with `what` when it stays false."""
    limit = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < limit, f"waited {seconds} s for {what}"
        time.sleep(0.1)
    return found


class Installation:
    """`serve` on a data directory and a port of its own."""

    def __init__(self, directory, server="", **extra):
        """``server`` is the address of a PostgreSQL server to make a database on; without it the
        database is a file. ``extra`` is added to the environment."""
        self.data = directory / "data"
        self.database = Database(self.data / "db.sqlite3", server)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.environment = {
            key: value
            for key, value in os.environ.items()
            if key not in {"DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE"}
        }
        self.environment |= {"OPENCLIO_DATA_DIR": str(self.data), "SECRET_KEY": "t" * 40}
        self.environment |= self.database.environment | extra
        # As if the map's code had been compiled: these tests draw none.
        (self.data / "numba").mkdir(parents=True)
        (self.data / "numba" / "warmed.json").write_text(json.dumps(_versions()))
        self.manage("migrate", "--verbosity=0", "--skip-checks").wait(120)

    def manage(self, *arguments, **keywords):
        """Start one management command."""
        return subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), *arguments],
            env=self.environment,
            **keywords,
        )

    def rows(self, query, *values):
        """Read the database beside the program."""
        return self.database.rows(query, *values)

    def start(self):
        """Serve, and wait until the web process answers and a worker took a task."""
        self.log = (self.data / "serve.log").open("w")
        self.supervisor = self.manage(
            "serve",
            f"--port={self.port}",
            f"--workers={WORKERS}",
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        wait_for(self.ready, 60, "the first readiness")

    def ready(self):
        """What `/ready` says; False while nothing answers."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def members(self):
        """All living processes of this installation, the supervisor too."""
        found = []
        for process in psutil.process_iter():
            try:
                environment = process.environ()
                if (
                    environment.get("OPENCLIO_DATA_DIR") == str(self.data)
                    and ASIDE not in environment
                    and process.status() != psutil.STATUS_ZOMBIE
                ):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def beat(self):
        """When a worker last took a canary."""
        return self.rows("SELECT max(beat_at) FROM core_beat WHERE name LIKE ?", "canary:%")[0][0]

    def part(self, name):
        """One member: `web`, `pool`, or below the pool `guard` and its first `worker`."""
        return wait_for(lambda: self._part(name), 30, f"the {name} to be there")

    def _part(self, name):
        try:
            children = psutil.Process(self.supervisor.pid).children()
            word = "daphne" if name == "web" else "pool"
            found = next(one for one in children if word in one.cmdline())
            for _ in range({"guard": 1, "worker": 2}.get(name, 0)):
                found = found.children()[0]
        except (psutil.Error, StopIteration, IndexError):
            # It is being started again.
            return None
        return found

    def whole(self):
        """Supervisor, web, pool, guard, workers, monitor and pusher all live."""
        return len(self.members()) == 5 + WORKERS + 1

    def freeze(self, members):
        """SIGSTOP, outside of a write to SQLite, which on one machine would stop everybody; tells
        whether it found such a moment."""
        for _ in range(20):
            for one in members:
                with contextlib.suppress(psutil.Error):
                    one.suspend()
            if self.database.writable():
                return True
            self.go_on(members)
            time.sleep(0.05)
        return False

    @staticmethod
    def go_on(members):
        """SIGCONT."""
        for one in members:
            with contextlib.suppress(psutil.Error):
                one.resume()

    def works_again(self, seconds=120):
        """Ready, complete, and a worker took a task sent after now.

        On a busy machine a pool that hangs is noticed after 20 s, its successor takes half a
        minute to begin, and may take ``START_PATIENCE`` for its first answer.
        """
        before = self.beat()
        wait_for(self.ready, seconds, "readiness")
        wait_for(lambda: self.beat() != before, seconds, "a worker to take a task")
        wait_for(self.whole, seconds, "every process to be there")

    def end(self):
        """Kill whatever is left."""
        for process in self.members():
            process.kill()
        self.supervisor.wait()
        self.log.close()
