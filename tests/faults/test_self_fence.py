"""A worker that hangs with leases it cannot renew ends its process, so that the pool goes on.

RELIABILITY 2.5; rows 3 and 6 of the matrix depend on it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from core import heartbeat, q2, work
from core.heartbeat import Heartbeat
from core.models import LeasedWork

ROOT = Path(__file__).resolve().parents[2]


class Held(LeasedWork):
    """A row that no table holds: nothing here reaches a database."""

    class Meta:
        app_label = "core"
        managed = False


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A heart whose renewals hang until the end of the test, with short limits."""
    seen = SimpleNamespace(left=threading.Event(), let_go=threading.Event())
    monkeypatch.setattr(heartbeat, "SELF_FENCE_SECONDS", 0.1)
    monkeypatch.setattr(heartbeat, "LEAVE_AFTER", 0.1)
    monkeypatch.setattr(heartbeat, "LOOK_EVERY", 0.02)
    monkeypatch.setattr(work, "RENEW_EVERY", 0.02)
    monkeypatch.setattr(heartbeat, "leave", seen.left.set)

    def hang(*_: object) -> set[int]:
        seen.let_go.wait(10)
        return set()

    monkeypatch.setattr(work, "renew", hang)
    return seen


def test_a_process_that_neither_renews_nor_ends_leaves(stuck: SimpleNamespace) -> None:
    heart = Heartbeat(lambda lost: None)
    heart.hold(Held(pk=1, fence=1))
    heart.start()
    try:
        assert stuck.left.wait(3)
    finally:
        stuck.let_go.set()
        heart.stop()


def test_a_worker_that_gives_its_work_up_in_time_stays(stuck: SimpleNamespace) -> None:
    held = Held(pk=1, fence=1)
    heart = Heartbeat(lambda lost: None)
    heart.hold(held)
    heart.start()
    try:
        time.sleep(0.15)
        heart.drop(held)
        assert not stuck.left.wait(0.4)
    finally:
        stuck.let_go.set()
        heart.stop()


def test_nothing_held_nothing_to_leave_for(stuck: SimpleNamespace) -> None:
    heart = Heartbeat(lambda lost: None)
    heart.start()
    try:
        assert not stuck.left.wait(0.4)
        assert heart.safe
    finally:
        stuck.let_go.set()
        heart.stop()


def test_outside_a_pool_nothing_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(q2.POOL_VARIABLE, raising=False)
    heartbeat.leave()


def test_the_real_exit_leaves_a_dump_of_every_thread(tmp_path: Path) -> None:
    """In a process of its own, with the main thread stuck where no exception reaches it."""
    program = textwrap.dedent(
        """
        import os, threading, time
        os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
        import django
        django.setup()
        from core import heartbeat, work
        heartbeat.SELF_FENCE_SECONDS = heartbeat.LEAVE_AFTER = 0.1
        heartbeat.LOOK_EVERY = work.RENEW_EVERY = 0.02
        work.renew = lambda *_: time.sleep(30)
        from core.models import LeasedWork
        class Held(LeasedWork):
            class Meta:
                app_label = "core"
        heart = heartbeat.Heartbeat(lambda lost: None)
        heart.hold(Held(pk=1, fence=1))
        heart.start()
        def wedged_in_the_database():
            threading.Event().wait(30)
        wedged_in_the_database()
        """
    )
    environment = {
        **{key: value for key, value in os.environ.items() if key != "DATABASE_URL"},
        "OPENCLIO_DATA_DIR": str(tmp_path),
        q2.POOL_VARIABLE: "here",
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr[-2000:]
    assert -done.returncode != signal.SIGKILL
    assert "wedged_in_the_database" in done.stderr
    assert "leaving this process" in done.stderr
