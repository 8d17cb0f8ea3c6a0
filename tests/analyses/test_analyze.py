"""``manage.py analyze``: as a person at a terminal meets it."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from io import StringIO
from pathlib import Path
from threading import Event
from typing import NoReturn

import psutil
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from analyses.models import AnalysisSession
from analyses.runner import terminal
from core.errors import Conflict

ROOT = Path(__file__).resolve().parents[2]
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's prctl(2)")
KEY = "sk-never-to-be-seen-5f2e91"
FILES = {"report.html", "clusters.json", "conversations.csv", "run.json"}
ASKED = ("refund a second charge", "reset my password", "change the delivery address")

# Fewer than 15 distinct texts are placed without the map's compiled code.
COUNT = 12


def rows(count: int) -> str:
    return "".join(
        json.dumps(
            {
                "id": f"c-{n}/é",
                "messages": [
                    {"role": "customer", "content": f"Please {ASKED[n % 3]}, number {n}."},
                    {"role": "agent", "content": "I did that for you."},
                ],
            }
        )
        + "\n"
        for n in range(count)
    )


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    path = tmp_path / "chats.jsonl"
    path.write_text(rows(COUNT), encoding="utf-8")
    return path


# --- What it refuses ------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (None, [], "There is no file"),
        ("", [], "is empty"),
        ("\n\n", [], "empty"),
        ("%PDF-1.4", [], "a PDF document"),
        ('{"id": 1, "messages": []}\n', [], "no lists of messages|told apart|no messages"),
        (rows(1), ["--template", "nope"], "There is no template “nope”. Known: .*general"),
        (rows(1), ["--provider", "nope"], "There is no provider “nope”"),
        (rows(1), ["--base-url", "ftp://x", "--model", "m"], "must begin with http"),
        (rows(1), ["--base-url", "http://127.0.0.1:9/v1"], "--base-url needs --model"),
        (rows(1), ["--model", "m"], "--model needs --base-url"),
        (rows(1), ["--base-url", "http://127.0.0.1:9/v1", "--model", "m"], "Nothing answers at"),
        (
            rows(1),
            ["--base-url", "http://127.0.0.1:9/v1", "--model", "m", "--api-key-env", "NO_SUCH"],
            "environment variable NO_SUCH is not set",
        ),
        (rows(1), ["--limit", "0"], "--limit must be at least 1"),
        (rows(1), ["--batches"], "--batches needs --provider or --base-url"),
        (rows(1), ["--by-route", "--batches"], "--batches needs --provider or --base-url"),
        (rows(1), ["--concurrency", "-3"], "--concurrency must be at least 1"),
        (rows(1), ["--out", "in.jsonl/sub"], "Results cannot be written"),
    ],
)
def test_it_says_at_once_what_is_wrong(tmp_path, monkeypatch, settings, content, options, words):
    settings.MEDIA_ROOT = tmp_path / "media"
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "in.jsonl").write_text(content)
    with pytest.raises(CommandError, match=words) as caught:
        call_command("analyze", "in.jsonl", *options)
    assert "\n" not in str(caught.value)
    assert caught.value.returncode != 0


@pytest.mark.django_db
def test_batches_are_asked_for_by_an_option_of_their_own(tmp_path, chats, monkeypatch, settings):
    """The same file read at once and in batches are two analyses."""
    settings.MEDIA_ROOT = tmp_path / "media"
    begun: list[AnalysisSession] = []

    def follow(session: AnalysisSession, abandon: object) -> NoReturn:
        begun.append(session)
        raise Conflict(why="Seen.")

    monkeypatch.setattr("analyses.management.commands.analyze.follow", follow)
    monkeypatch.setattr("analyses.services.command_line.check_reachable", lambda chat: None)
    where = ["--base-url", "http://127.0.0.1:9/v1", "--model", "m", "--out", str(tmp_path / "out")]
    for options in ([], ["--batches"], ["--batches"]):
        with pytest.raises(CommandError, match="Seen"):
            call_command("analyze", str(chats), *where, *options, stderr=StringIO())
    assert [one.params["bulk"] for one in begun] == [False, True, True]
    assert [one.number for one in begun] == [1, 2, 2]


def test_the_second_worker_fetches_batches_where_there_are_any(monkeypatch):
    looked = Event()

    class Idle:
        def __init__(self, **how: object) -> None: ...

        async def run(self) -> None:
            await asyncio.to_thread(looked.wait, 0.05)

    monkeypatch.setattr(terminal, "Worker", Idle)
    monkeypatch.setattr(terminal.kernel, "die_with_parent", lambda parent: None)
    monkeypatch.setattr(terminal.signal, "signal", lambda *how: None)
    monkeypatch.setattr(terminal, "_keep_collecting", looked.set)
    terminal._help(1, 1, batches=False)
    assert not looked.is_set()
    terminal._help(1, 1, batches=True)
    assert looked.wait(30)


def test_a_look_that_fails_is_made_again(monkeypatch):
    class Enough(BaseException):
        pass

    looks: list[Exception | Enough] = [ValueError("of any kind"), Enough()]

    def collect() -> None:
        raise looks.pop(0)

    monkeypatch.setattr(terminal, "collect", collect)
    monkeypatch.setattr(terminal, "COLLECT_EVERY", 0.0)
    with pytest.raises(Enough):
        terminal._keep_collecting()
    assert looks == []


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(CommandError, match="is a folder"):
        call_command("analyze", str(tmp_path))


# --- Runs of its own ------------------------------------------------------------------------------


class Terminal:
    """The command in a process and a data folder of its own."""

    def __init__(self, folder: Path, data: str = "data") -> None:
        self.folder = folder
        self.out = folder / f"out-{data}"
        keep = {"DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE", "SECRET_KEY"}
        self.environment = {k: v for k, v in os.environ.items() if k not in keep}
        self.environment |= {"OPENCLIO_DATA_DIR": str(folder / data), "TRIAL_KEY": KEY}

    def start(self, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(ROOT / "manage.py"), "analyze", "chats.jsonl"]
        return subprocess.Popen(
            [*command, "--out", str(self.out), *options],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *options: str) -> tuple[int, str]:
        process = self.start(*options)
        said, _ = process.communicate(timeout=90)
        return process.returncode, said

    def table(self) -> list[dict[str, str]]:
        with (self.out / "conversations.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def json(self, name: str):
        return json.loads((self.out / name).read_text(encoding="utf-8"))


def wait_for(look, seconds: float, what: str) -> None:
    limit = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < limit, f"waited {seconds} s for {what}"
        time.sleep(0.05)


def members(leader: int) -> list[psutil.Process]:
    """What still lives of the process group a command was started in."""
    found = []
    for process in psutil.process_iter(["status"]):
        try:
            same = os.getpgid(process.pid) == leader
        except ProcessLookupError:
            continue
        if same and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def test_a_fresh_machine_without_a_key_gives_all_four_files(tmp_path, chats):
    terminal = Terminal(tmp_path)
    code, said = terminal.run()
    assert (code, "Traceback" in said) == (0, False), said
    assert {path.name for path in terminal.out.iterdir()} == FILES
    assert [row["id"] for row in terminal.table()] == [f"c-{n}/é" for n in range(COUNT)]
    assert all(row["summary"] and row["x"] for row in terminal.table())
    run = terminal.json("run.json")
    assert (run["engine"], run["read"], run["calls"]) == ("local engine", COUNT, 0)
    assert run["seconds"]["stages"]["report"] > 0

    first = terminal.table()
    (terminal.out / "conversations.csv").unlink()
    code, said = terminal.run()
    assert (code, "Analysed before" in said) == (0, True)
    assert terminal.table() == first


class Server:
    """The scripted provider behind a management command."""

    def __init__(self, folder: Path, **scenario: object) -> None:
        path = folder / "scenario.json"
        path.write_text(json.dumps(scenario))
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), "scripted_provider", "--scenario", str(path)],
            env={**os.environ, "OPENCLIO_DATA_DIR": str(folder / "server")},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()

    def stats(self) -> dict[str, int]:
        with urllib.request.urlopen(self.url.removesuffix("/v1") + "/stats", timeout=5) as answer:
            return json.load(answer)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def options(self) -> list[str]:
        return ["--base-url", self.url, "--model", "scripted", "--api-key-env", "TRIAL_KEY"]


@pytest.fixture
def serve(tmp_path):
    """``serve(**scenario)``: a running provider."""
    running: list[Server] = []

    def begin(**scenario: object) -> Server:
        running.append(Server(tmp_path, **scenario))
        return running[-1]

    yield begin
    for server in running:
        server.stop()


@pytest.mark.crash
@LINUX
def test_killed_or_stopped_halfway_it_goes_on_with_the_same_result(tmp_path, chats, serve):
    server = serve(latency=0.3, key=KEY)
    options = [*server.options, "--concurrency", "2"]
    whole = Terminal(tmp_path, "whole")
    assert whole.run(*options)[0] == 0

    stopped = Terminal(tmp_path, "stopped")
    for end in (signal.SIGKILL, signal.SIGINT):
        before = server.stats()["requests"]
        process = stopped.start(*options)
        wait_for(lambda b=before: server.stats()["requests"] >= b + 3, 60, "calls")
        began = time.monotonic()
        if end is signal.SIGKILL:
            process.kill()
        else:
            os.killpg(process.pid, end)
        said, _ = process.communicate(timeout=20)
        assert time.monotonic() - began < 5
        wait_for(lambda p=process: not members(p.pid), 5, "the helper to end")
    assert process.returncode == 130
    assert "start the same command again" in said
    assert "Traceback" not in said

    repeated = server.stats()["repeated"]
    code, said = stopped.run(*options)
    assert (code, "Going on with analysis 1" in said) == (0, True), said
    assert stopped.table() == whole.table()
    assert stopped.json("clusters.json") == whole.json("clusters.json")
    # Every call of the second folder was asked for the first one before; beyond that only those
    # that were in flight at the two interruptions.
    calls = whole.json("run.json")["calls"]
    assert server.stats()["requests"] <= 2 * calls + 2 * 4
    assert repeated <= server.stats()["repeated"]
    for path in [
        *tmp_path.rglob("*.json"),
        *tmp_path.rglob("*.html"),
        *tmp_path.rglob("*.sqlite3*"),
    ]:
        if path.name != "scenario.json":
            assert KEY.encode() not in path.read_bytes(), path
    assert KEY not in said


@pytest.mark.crash
@LINUX
def test_a_refused_key_ends_quickly_with_one_sentence(tmp_path, chats, serve):
    server = serve(key="another")
    terminal = Terminal(tmp_path)
    began = time.monotonic()
    code, said = terminal.run(*server.options)
    assert code == 3, said
    assert "key" in said.lower()
    assert "Traceback" not in said
    assert KEY not in said
    assert time.monotonic() - began < 30
    assert terminal.json("run.json")["status"] == "blocked"


@pytest.mark.crash
@LINUX
def test_ctrl_c_ends_calls_that_hang(tmp_path, chats, serve):
    server = serve(mix=[{"act": "hang"}])
    process = Terminal(tmp_path).start(*server.options)
    wait_for(lambda: server.stats()["requests"] >= 2, 60, "calls")
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert (process.returncode, "Stopped." in said) == (130, True)
    wait_for(lambda: not members(process.pid), 5, "the helper to end")
