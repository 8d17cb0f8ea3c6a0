"""An installation at work: two hosts' worth of processes, a provider with a bill, a person."""

import contextlib
import json
import select
import socket
import subprocess
import sys
import time

import psutil

from tests.crash.installation import ASIDE, ROOT, WORKERS, Installation, wait_for

CONCURRENCY = 8
CALL_SECONDS = 6.0
"""The provider's whole time for a call; with it, how long a frozen worker's calls stay open."""


class Stack(Installation):
    """``serve`` with a web process, a second ``serve`` without, and what surrounds them.

    Both share a queue: a wake-up is taken by whichever is free.
    """

    def __init__(self, directory, server="", *, limit=None, **extra):
        directory.mkdir(parents=True, exist_ok=True)
        self.order = directory / "crash-order"
        super().__init__(directory, server, OPENCLIO_CRASH_AT=f"@{self.order}", **extra)
        self.bill = directory / "bill"
        self.hosts = {}
        self.sessions = []
        self.refused = []
        self._limit = limit
        assert self.manage("setup", stdout=subprocess.DEVNULL).wait(180) == 0
        self.provider = self._provider(directory)
        self.person = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.person"],
            cwd=ROOT,
            env=self.environment
            | {ASIDE: "1", "DJANGO_SETTINGS_MODULE": "config.settings", "OPENCLIO_CRASH_AT": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _provider(self, directory):
        scenario = directory / "scenario.json"
        scenario.write_text(json.dumps({"latency": 0.03, "jitter": 0.05}))
        environment = {
            key: value
            for key, value in self.environment.items()
            if key not in {"OPENCLIO_DATA_DIR", "OPENCLIO_CRASH_AT"}
        }
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "providers.clients.scripted_server"),
                *("--scenario", str(scenario), "--bill", str(self.bill)),
            ],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.url = process.stdout.readline().strip()
        return process

    # --- what a person does ------------------------------------------------------------------

    def ask(self, do, **given):
        """Have the person do something; the answer, or ``None`` where the product refuses."""
        self.person.stdin.write(json.dumps({"do": do, **given}) + "\n")
        self.person.stdin.flush()
        assert select.select([self.person.stdout], [], [], 120)[0], "nobody answers at the pages"
        answer = json.loads(self.person.stdout.readline())
        if "refused" in answer:
            self.refused.append((do, given, answer["refused"]))
        return answer.get("ok")

    def begin(self):
        """Start another analysis; its primary key. Every other one has a provider that can be
        asked for answers that were lost."""
        number = len(self.sessions)
        session = self.ask(
            "begin",
            number=number,
            url=self.url,
            concurrency=CONCURRENCY,
            seconds=CALL_SECONDS,
            reconciles=self.reconciles(number),
            limit=self._limit,
        )
        assert session
        self.sessions.append(session)
        return session

    @staticmethod
    def reconciles(number):
        """Whether the provider of the analysis of this number keeps answers."""
        return number % 2 == 1

    def status(self, session):
        """Where an analysis stands."""
        return self.rows("SELECT status FROM analyses_analysissession WHERE id = ?", session)[0][0]

    # --- its processes -----------------------------------------------------------------------

    def serve(self, host):
        """Start ``main`` (with the web process) or ``side`` (workers only)."""
        log = (self.data / f"serve-{host}.log").open("a")
        mode = [f"--port={self.port}"] if host == "main" else ["--no-web"]
        process = self.manage(
            "serve", *mode, f"--workers={WORKERS}", stdout=log, stderr=subprocess.STDOUT
        )
        log.close()
        self.hosts[host] = process

    def tree(self, host):
        """The living processes of one host by their role."""
        found = {"supervisor": [], "web": [], "pool": [], "guard": [], "child": []}
        with contextlib.suppress(psutil.Error):
            supervisor = psutil.Process(self.hosts[host].pid)
            found["supervisor"] = [supervisor]
            for program in supervisor.children():
                words = program.cmdline()
                if "daphne" in words:
                    found["web"].append(program)
                elif "pool" in words:
                    found["pool"].append(program)
                    found["guard"] += program.children()
            for guard in found["guard"]:
                found["child"] += guard.children()
        return {role: [one for one in some if lives(one)] for role, some in found.items()}

    def web_answers(self):
        """Whether the web process takes connections."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def stop(self):
        """Ask both to stop; how many processes are left after a while that a busy machine needs."""
        for process in self.hosts.values():
            process.terminate()
        limit = time.monotonic() + 20
        while (left := self.members()) and time.monotonic() < limit:
            time.sleep(0.1)
        return len(left)

    def end(self):
        """Kill whatever is left."""
        for process in [*self.members(), self.person, self.provider]:
            with contextlib.suppress(psutil.Error):
                process.kill()
        for process in [*self.hosts.values(), self.person, self.provider]:
            process.wait()
        wait_for(lambda: not self.members(), 10, "every process to end")


def lives(process):
    """Whether a process has not ended."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def pid_of(owner):
    """The process id in an owner's name, ``host:pid:start``."""
    return int(owner.rsplit(":", 2)[1])


def alive(owner):
    """Whether a process of this host that named itself so still lives."""
    try:
        process = psutil.Process(pid_of(owner))
        started = str(int(process.create_time() * 100))
        return started == owner.rpartition(":")[2] and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
