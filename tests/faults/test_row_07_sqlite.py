"""Row 7: SQLite is locked, its files are copied at random moments, or may not be written."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, transaction
from django.test import Client

from analyses.models import AnalysisSession, SessionStatus
from analyses.runner.worker import Worker
from core import database
from core.models import Beat
from projects.models import Dataset, Project
from providers.clients.scripted import Scenario
from providers.models import ModelDeployment
from tests.analyses.worker.support import Told, run, worker_run
from tests.faults.support import check_ledger, told_by_page

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not settings.SQLITE, reason="about SQLite's files"),
]


def file() -> Path:
    return Path(str(connection.settings_dict["NAME"]))


class Lock(threading.Thread):
    """Somebody else's transaction: holds the write lock for some seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(daemon=True)
        self.held = threading.Event()
        self._seconds = seconds

    def run(self) -> None:
        other = sqlite3.connect(file(), timeout=30, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            self.held.set()
            time.sleep(self._seconds)
            other.execute("ROLLBACK")
        finally:
            other.close()


def impatient(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Connections opened from here on wait less for the lock."""
    options = {**connection.settings_dict["OPTIONS"], "timeout": seconds}
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)


def test_a_lock_longer_than_sqlite_waits_fails_nothing(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """25 s against a wait of 20 s, both a hundredth and a bit."""
    told.play(Scenario(latency=0.02))
    session = start(talks(60), chat=model)
    impatient(monkeypatch, 0.2)

    async def disturbed() -> None:
        running = asyncio.create_task(Worker(session_id=session.pk, idle_exit=0.5).run())
        while told.requests < 10:
            await asyncio.sleep(0.01)
        lock = Lock(0.8)
        lock.start()
        await running

    worker_run(disturbed())
    session = run(session)
    assert session.status == SessionStatus.COMPLETED, session.detail
    assert session.failed_count == 0
    check_ledger(session, told)
    assert set(session.batches.values_list("attempt", flat=True)) == {1}


def test_a_page_that_cannot_write_says_so(
    analyst_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new project is written: while another transaction holds the lock, it is not possible."""
    impatient(monkeypatch, 0.1)
    connection.close()
    lock = Lock(0.8)
    lock.start()
    assert lock.held.wait(5)
    analyst_client.raise_request_exception = False
    answer = analyst_client.post("/projects/new/", {"name": "Locked out"})
    lock.join()
    connection.close()
    assert answer.status_code == 503
    assert "What was saved is safe" in answer.content.decode()
    assert not Project.objects.filter(name="Locked out").exists()


def test_copies_taken_at_random_moments_open_clean(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    tmp_path: Path,
) -> None:
    """What a power cut leaves: the files as they are, in the middle of writing."""
    told.play(Scenario(latency=0.01))
    session = start(talks(60), chat=model)
    copies: list[Path] = []
    ended = threading.Event()
    draw = random.Random(7)

    def photograph() -> None:
        while not ended.wait(draw.uniform(0.02, 0.1)) and len(copies) < 25:
            folder = tmp_path / f"cut-{len(copies)}"
            folder.mkdir()
            # The log first: a copy of the database is never older than its log, as on a disk
            # that stops in one moment.
            for suffix in ("-wal", ""):
                source = Path(f"{file()}{suffix}")
                if source.exists():
                    shutil.copyfile(source, folder / f"db.sqlite3{suffix}")
            copies.append(folder / "db.sqlite3")

    camera = threading.Thread(target=photograph, daemon=True)
    camera.start()
    worker_run(Worker(session_id=session.pk, idle_exit=0.3).run())
    ended.set()
    camera.join()
    session.refresh_from_db()
    assert session.status == SessionStatus.COMPLETED, session.detail
    assert len(copies) >= 5
    seen = set()
    for copy in copies:
        with sqlite3.connect(copy) as opened:
            assert opened.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert opened.execute("PRAGMA foreign_key_check").fetchall() == []
            seen.add(check_copy(opened, session.pk))
    assert len(seen) > 1, "all copies show the same moment"


def check_copy(opened: sqlite3.Connection, pk: int) -> int:
    """Whether what a copy says fits together, so that a worker can go on from it."""
    (read, failed) = opened.execute(
        "SELECT read_count, failed_count FROM analyses_analysissession WHERE id = ?", [pk]
    ).fetchone()
    (outcomes,) = opened.execute(
        "SELECT count(*) FROM analyses_analysisitem WHERE session_id = ? AND outcome = 'read'",
        [pk],
    ).fetchone()
    assert (outcomes, failed) == (read, 0)
    (events, newest) = opened.execute(
        "SELECT count(*), max(seq) FROM core_event e JOIN core_topic t ON t.id = e.topic_id"
        " WHERE t.name = ?",
        [f"analysis:{pk}"],
    ).fetchone()
    assert events == (newest or 0)
    (half,) = opened.execute(
        "SELECT count(*) FROM providers_llmcall WHERE state = 'ok' AND response = ''"
    ).fetchone()
    assert half == 0
    return int(read)


@pytest.fixture
def read_only() -> Any:
    """The database may be read but not written."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA query_only = ON")
    yield
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA query_only = OFF")


def test_a_file_that_may_not_be_written_is_told_apart(read_only: None) -> None:
    with pytest.raises(OperationalError) as caught, transaction.atomic():
        Beat.objects.create(name="a", beat_at="2026-06-01T00:00:00Z")
    assert database.is_read_only(caught.value)
    assert database.passes(caught.value)


def test_setup_and_serve_say_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value, words in (
        ("journal_mode", "delete", "write-ahead log"),
        ("busy_timeout", "5000", "waits only 5 s"),
    ):
        real = database._pragma
        monkeypatch.setattr(
            database,
            "_pragma",
            lambda asked, name=name, value=value, real=real: (
                value if asked == name else real(asked)
            ),
        )
        assert words in database.complaint()
        with pytest.raises(CommandError, match=words):
            call_command("serve", "--no-web")
        monkeypatch.undo()
    assert database.complaint() == ""


def test_transactions_that_do_not_begin_immediate_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {**settings.DATABASES["default"]["OPTIONS"], "transaction_mode": None}
    monkeypatch.setitem(settings.DATABASES["default"], "OPTIONS", options)
    assert "IMMEDIATE" in database.complaint()


def test_a_write_that_is_refused_leaves_the_run_resumable(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = start(talks(24))
    real = AnalysisSession.save
    refused = []

    def readonly(self: AnalysisSession, *args: Any, **how: Any) -> None:
        if len(refused) < 3:
            refused.append(1)
            cause = sqlite3.OperationalError("attempt to write a readonly database")
            cause.sqlite_errorcode = sqlite3.SQLITE_READONLY
            raise OperationalError("attempt to write a readonly database") from cause
        real(self, *args, **how)

    monkeypatch.setattr(AnalysisSession, "save", readonly)
    session = run(session)
    assert refused
    assert session.status == SessionStatus.COMPLETED, session.detail
    check_ledger(session, told)
    assert "Complete." in told_by_page(session)
