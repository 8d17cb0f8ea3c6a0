"""The supervisor, with small programs in place of the product's own.

Each supervisor has a process of its own, as in real life: it reaps every child it can see.
"""

import itertools
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from core.supervision.watch import Canary

ROOT = Path(__file__).resolve().parents[2]

# Each process writes one line with its pid, the leader first.
WRITE = """
import os, signal, sys, time
def here():
    with open(sys.argv[1], "a") as log: log.write(f"{os.getpid()}\\n")
"""
STEADY = WRITE + "here(); time.sleep(600)"
# Four processes in one group, none of which ends when asked.
STUBBORN = (
    WRITE + "signal.signal(signal.SIGTERM, signal.SIG_IGN); here(); leader = os.getpid()\n"
    "os.fork(); os.fork()\n"
    "if os.getpid() != leader: here()\n"
    "time.sleep(600)"
)
# Three generations, each tied to the one above, as a pool ties its workers.
TIED = (
    WRITE + "from core.supervision import kernel; kernel.die_with_parent_in_every_fork()\n"
    "here()\n"
    "if os.fork() == 0: os.fork(); here()\n"
    "time.sleep(600)"
)
SHORT = WRITE + "here(); sys.exit(3)"
SUPERVISED = """
import signal, sys
from core.supervision.supervisor import Service, Supervisor
once = sys.argv[3:] == ["once"]
one = Supervisor([Service("one", [sys.executable, "-c", sys.argv[1], sys.argv[2]], once=once)])
signal.signal(signal.SIGTERM, lambda *_: one.stop())
signal.signal(signal.SIGUSR1, lambda *_: one.restart("one"))
one.run()
"""


def wait_for(look, seconds=10.0):
    """Poll until `look()` is true; fail the test when it stays false."""
    limit = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < limit, "waited too long"
        time.sleep(0.02)
    return found


def alive(pids):
    """Those that run; a zombie has ended."""
    found = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except psutil.NoSuchProcess:
            continue
    return found


class Supervised:
    """One supervisor over one program, with the pids that the program wrote."""

    def __init__(self, directory):
        self.file = directory / "pids"

    def start(self, program, *words):
        """Run it; stopped programs are killed by the fixture."""
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISED, program, str(self.file), *words],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.DEVNULL,
        )
        return self.process

    def written(self):
        """All pids so far, the oldest first."""
        return [int(word) for word in self.file.read_text().split()] if self.file.exists() else []

    def pids(self, count):
        """Wait for that many."""
        return wait_for(lambda: found if len(found := self.written()) >= count else None)


@pytest.fixture
def supervised(tmp_path):
    """One supervisor; whatever it left is killed after the test."""
    one = Supervised(tmp_path)
    yield one
    one.process.kill()
    one.process.wait()
    for pid in alive(one.written()):
        os.kill(pid, signal.SIGKILL)


def test_a_program_that_is_killed_is_started_again_with_all_of_its_group_replaced(supervised):
    supervised.start(STUBBORN)
    first = supervised.pids(4)
    os.kill(first[0], signal.SIGKILL)
    both = supervised.pids(8)
    assert alive(first) == []
    assert len(alive(both)) == 4


def test_a_program_that_keeps_ending_is_started_again_ever_more_slowly(supervised):
    supervised.start(SHORT)
    times = []
    for count in range(1, 5):
        supervised.pids(count)
        times.append(time.monotonic())
    gaps = [late - early for early, late in itertools.pairwise(times)]
    assert gaps[0] >= 0.4
    # 2 s against 0.5 s: further apart than the time a busy machine takes to start a program.
    assert gaps[2] > gaps[0] + 0.5


def test_a_program_that_runs_once_is_not_started_again(supervised):
    supervised.start(SHORT, "once")
    supervised.pids(1)
    time.sleep(1.5)
    assert len(supervised.written()) == 1


def test_asked_to_replace_a_program_it_kills_the_group_and_starts_it_at_once(supervised):
    process = supervised.start(STUBBORN)
    first = supervised.pids(4)
    begun = time.monotonic()
    process.send_signal(signal.SIGUSR1)
    supervised.pids(8)
    assert time.monotonic() - begun < 3
    assert alive(first) == []


def test_everything_is_gone_within_five_seconds_even_what_ignores_the_request(supervised):
    process = supervised.start(STUBBORN)
    pids = supervised.pids(4)
    begun = time.monotonic()
    process.terminate()
    assert process.wait(10) == 0
    assert time.monotonic() - begun < 5
    assert alive(pids) == []


def test_asked_twice_it_waits_for_nothing(supervised):
    process = supervised.start(STUBBORN)
    pids = supervised.pids(4)
    begun = time.monotonic()
    process.terminate()
    time.sleep(0.3)
    process.terminate()
    process.wait(10)
    assert time.monotonic() - begun < 2
    assert alive(pids) == []


def test_a_program_that_ends_when_asked_is_not_kept_waiting(supervised):
    process = supervised.start(STEADY)
    supervised.pids(1)
    begun = time.monotonic()
    process.terminate()
    process.wait(10)
    assert time.monotonic() - begun < 1.5


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's prctl(2)")
@pytest.mark.parametrize("victim", ["supervisor", "leader"])
def test_no_orphan_is_left_when_a_member_is_killed(supervised, victim):
    process = supervised.start(TIED, "once")
    pids = supervised.pids(3)
    os.kill(process.pid if victim == "supervisor" else pids[0], signal.SIGKILL)
    wait_for(lambda: not alive(pids), 3)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's prctl(2)")
def test_without_the_tie_a_killed_supervisor_would_leave_orphans(supervised):
    """Shows that the test above can fail: the same, with descendants that are not tied."""
    process = supervised.start(STUBBORN)
    pids = supervised.pids(4)
    process.kill()
    process.wait()
    wait_for(lambda: len(alive(pids)) == 3, 3)
    time.sleep(0.3)
    assert len(alive(pids)) == 3


class Pool:
    """What a canary sees of a pool, with a clock that the test moves."""

    def __init__(self):
        self.now, self.sent, self.answer, self.busy, self.broken = 0.0, 0, None, False, False
        self.pid = 1
        self.canary = Canary(
            send=self.send,
            last_answer=self.last_answer,
            all_busy=lambda: self.busy,
            who=lambda: self.pid,
            clock=lambda: self.now,
        )

    def send(self):
        self.sent += 1

    def last_answer(self):
        if self.broken:
            raise ConnectionError("the database is away")
        return self.answer

    def reply(self):
        """A worker takes the canary."""
        self.answer = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.now)

    def pass_seconds(self, seconds, *, replies=False):
        """Look twice a second; the verdicts' times."""
        verdicts = []
        for _ in range(int(seconds * 2)):
            if self.canary.hangs():
                verdicts.append(self.now)
            if replies:
                self.reply()
            self.now += 0.5
        return verdicts


def test_a_pool_that_answers_is_left_alone():
    pool = Pool()
    assert pool.pass_seconds(300, replies=True) == []
    assert 50 <= pool.sent <= 75


def test_a_pool_that_never_answers_is_replaced_after_a_minute_and_again():
    pool = Pool()
    verdicts = pool.pass_seconds(130)
    assert 60 <= verdicts[0] <= 61
    assert len(verdicts) == 2


def test_a_pool_that_was_started_anew_has_time_to_start():
    pool = Pool()
    pool.pass_seconds(60, replies=True)
    pool.pass_seconds(10)
    pool.pid = 2
    assert pool.pass_seconds(55) == []
    pool.pass_seconds(10, replies=True)
    assert 150 <= pool.pass_seconds(20)[0] <= 155


def test_a_pool_that_stops_answering_is_replaced():
    pool = Pool()
    pool.pass_seconds(60, replies=True)
    assert 75 <= pool.pass_seconds(30)[0] <= 80


def test_a_pool_with_all_workers_at_work_has_nobody_to_answer():
    pool = Pool()
    pool.busy = True
    assert pool.pass_seconds(200) == []
    assert pool.sent == 1
    pool.busy = False
    assert 259 <= pool.pass_seconds(80)[0] <= 261


def test_a_database_that_is_away_is_no_verdict_on_the_pool():
    pool = Pool()
    pool.pass_seconds(10)
    pool.broken = True
    for _ in range(60):
        with pytest.raises(ConnectionError):
            pool.canary.hangs()
        pool.now += 0.5
    pool.broken = False
    assert pool.pass_seconds(14) == []
