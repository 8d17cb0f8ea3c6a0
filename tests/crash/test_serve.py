"""A real `manage.py serve`, whose processes are killed one after the other."""

import contextlib
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.crash.installation import WORKERS, Installation, wait_for

pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's prctl(2)"),
]


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
    for _ in range(WORKERS + 2):
        # The oldest, each time: the others may be gone with a pool that had to be replaced.
        with contextlib.suppress(psutil.NoSuchProcess):
            installation.part("guard").children()[0].kill()
        installation.works_again()


def test_a_pool_whose_idle_workers_are_all_killed_takes_tasks_again(installation):
    children = installation.part("guard").children()
    assert len(children) == WORKERS + 2
    for child in children[:WORKERS]:
        child.kill()
    installation.works_again()


def test_a_pool_that_is_frozen_is_replaced(installation):
    frozen = installation.part("guard").children()
    assert installation.freeze(frozen)
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
