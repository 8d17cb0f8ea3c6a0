"""A real `manage.py serve`, whose processes are killed one after the other."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest

from core.supervision.warmth import _versions

pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's prctl(2)"),
]

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 2


def wait_for(look, seconds, what):
    """Poll until `look()` is true; fail with `what` when it stays false."""
    limit = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < limit, f"waited {seconds} s for {what}"
        time.sleep(0.1)
    return found


class Installation:
    """`serve` on a data directory and a port of its own."""

    def __init__(self, directory):
        self.data = directory / "data"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.environment = {
            key: value
            for key, value in os.environ.items()
            if key not in {"DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE"}
        }
        self.environment |= {"OPENCLIO_DATA_DIR": str(self.data), "SECRET_KEY": "t" * 40}
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
                if process.status() != psutil.STATUS_ZOMBIE and (
                    process.environ().get("OPENCLIO_DATA_DIR") == str(self.data)
                ):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def beat(self):
        """When a worker last took a canary."""
        with sqlite3.connect(self.data / "db.sqlite3", timeout=20) as database:
            return database.execute(
                "SELECT max(beat_at) FROM core_beat WHERE name LIKE 'canary:%'"
            ).fetchone()[0]

    def part(self, name):
        """One member: `web`, `pool`, or below the pool `guard` and its children."""
        children = psutil.Process(self.supervisor.pid).children()
        if name == "web":
            return next(one for one in children if "daphne" in one.cmdline())
        pool = next(one for one in children if "pool" in one.cmdline())
        return pool if name == "pool" else pool.children()[0]

    def whole(self):
        """Supervisor, web, pool, guard, workers, monitor and pusher all live."""
        return len(self.members()) == 5 + WORKERS + 1

    def works_again(self, seconds=45):
        """Ready, complete, and a worker took a task sent after now."""
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


@pytest.fixture
def installation(tmp_path):
    """A running installation."""
    one = Installation(tmp_path)
    one.start()
    yield one
    one.end()


def test_kill_9_of_every_member_in_turn_is_mended(installation):
    for name in ("web", "pool", "guard"):
        victim = installation.part(name)
        before = {process.pid for process in installation.members()}
        victim.kill()
        installation.works_again()
        after = {process.pid for process in installation.members()}
        assert victim.pid in before - after
    for child in installation.part("guard").children():
        child.kill()
        installation.works_again()


def test_a_pool_whose_idle_workers_are_all_killed_takes_tasks_again(installation):
    children = installation.part("guard").children()
    assert len(children) == WORKERS + 2
    for child in children[:WORKERS]:
        child.kill()
    installation.works_again()


def test_a_pool_that_is_frozen_is_replaced(installation):
    frozen = installation.part("guard").children()
    for child in frozen:
        child.suspend()
    installation.works_again()
    assert not any(child.is_running() for child in frozen)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_is_gone_within_five_seconds(installation, number):
    begun = time.monotonic()
    installation.supervisor.send_signal(number)
    assert installation.supervisor.wait(10) == 0
    assert time.monotonic() - begun < 5
    assert installation.members() == []


def test_kill_9_of_the_supervisor_leaves_nothing(installation):
    assert installation.whole()
    installation.supervisor.kill()
    wait_for(lambda: not installation.members(), 5, "all processes to end")


def test_a_second_serve_on_the_same_port_says_so_and_ends(installation):
    second = installation.manage(
        "serve", f"--port={installation.port}", stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    _, complaint = second.communicate(timeout=30)
    assert second.returncode == 1
    assert f"Port {installation.port} is taken" in complaint.decode()
    assert installation.ready()
