"""Row 8: the disk is full under the database, an upload, its temporary file or a result."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.models import User
from analyses.models import AnalysisSession, BlockReason, SessionStatus
from core import disks
from core.errors import AppError
from projects import services as projects
from projects.models import Dataset, Import, Project
from tests.analyses.worker.support import run
from tests.faults.support import tick, told_by_page

pytestmark = pytest.mark.django_db(transaction=True)

GB = 1_000_000_000
LINES = b'{"messages": [{"role": "user", "content": "Hello"}]}\n'


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path) -> SimpleNamespace:
    """``disk.free = bytes``: how much room the disk claims to have."""
    settings.DISK_RESERVE_MB = None
    one = SimpleNamespace(total=100 * GB, free=50 * GB)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: SimpleNamespace(total=one.total, free=one.free)
    )
    return one


@pytest.mark.parametrize(
    ("total", "free", "room"),
    [
        (10 * GB, 0.9 * GB, False),
        (10 * GB, 1.1 * GB, True),
        (100 * GB, 1.9 * GB, False),
        (100 * GB, 2.1 * GB, True),
    ],
)
def test_the_reserve_is_a_gigabyte_or_two_hundredths(
    disk: SimpleNamespace, total: float, free: float, room: bool
) -> None:
    disk.total, disk.free = int(total), int(free)
    assert disks.has_room() is room


def test_an_operator_may_set_the_reserve(disk: SimpleNamespace, settings: Any) -> None:
    disk.free = 500_000_000
    settings.DISK_RESERVE_MB = 400
    assert disks.has_room()
    assert not disks.has_room(ahead=200_000_000)


def test_a_disk_that_cannot_be_asked_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise OSError(errno.EIO, "it does not say")

    monkeypatch.setattr(shutil, "disk_usage", broken)
    assert disks.has_room()


# --- Runs ------------------------------------------------------------------------------------------


def test_a_run_waits_for_room_and_goes_on_by_itself(
    talks: Callable[..., Dataset], start: Callable[..., AnalysisSession], disk: SimpleNamespace
) -> None:
    session = start(talks(24))
    disk.free = GB
    session = tick(session)
    assert (session.status, session.reason) == (SessionStatus.BLOCKED, BlockReason.DISK)
    said = told_by_page(session)
    assert "The disk is full." in said
    assert "What was read is saved." in said
    session = run(session)
    assert session.status == SessionStatus.BLOCKED
    assert not session.items.exists()
    disk.free = 50 * GB
    AnalysisSession.objects.update(retry_at=None)
    session = run(tick(session))
    assert session.status == SessionStatus.COMPLETED, session.detail


def test_a_result_that_the_disk_refuses_blocks_and_is_made_again(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No attempt is counted: three refusals would fail the whole run."""
    from analyses import artifacts

    session = start(talks(24))
    real, refused = artifacts.write_array, []

    def full(*args: Any, **how: Any) -> Any:
        if len(refused) < 4:
            refused.append(1)
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args, **how)

    monkeypatch.setattr(artifacts, "write_array", full)
    for _ in range(8):
        session = run(session)
        if session.status == SessionStatus.COMPLETED:
            break
        assert (session.status, session.reason) == (SessionStatus.BLOCKED, BlockReason.DISK)
        assert "The disk is full." in told_by_page(session)
        AnalysisSession.objects.update(retry_at=None)
        session = tick(session)
    assert len(refused) == 4
    assert session.status == SessionStatus.COMPLETED, session.detail


# --- The ballast -----------------------------------------------------------------------------------


@pytest.fixture
def ballast(disk: SimpleNamespace, settings: Any, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path / disks.BALLAST


def test_a_ballast_is_laid_given_up_and_laid_again(ballast: Path, disk: SimpleNamespace) -> None:
    disks.tick()
    assert ballast.stat().st_size == disks.BALLAST_BYTES
    assert ballast.stat().st_blocks * 512 >= disks.BALLAST_BYTES
    disk.free = GB  # full for new work, but there is room to save what is under way
    disks.tick()
    assert ballast.exists()
    disk.free = 10_000_000
    disks.tick()
    assert not ballast.exists()
    disks.tick()
    assert not ballast.exists(), "it was laid again on a full disk"
    disk.free = 50 * GB
    disks.tick()
    assert ballast.exists()
    assert list(ballast.parent.iterdir()) == [ballast]


def test_a_ballast_that_does_not_fit_leaves_nothing(
    ballast: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        disks.tick()
    assert list(ballast.parent.iterdir()) == []


# --- Uploads ---------------------------------------------------------------------------------------


@pytest.fixture
def media(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media" / "uploads"


def send(client: Client, project: Project) -> Any:
    client.raise_request_exception = False
    file = SimpleUploadedFile("june.jsonl", LINES * 100)
    return client.post(f"/p/{project.slug}/data/upload/", {"file": file, "name": ""})


def test_an_upload_is_refused_before_a_byte_is_kept(
    analyst_client: Client, project: Project, media: Path, disk: SimpleNamespace
) -> None:
    disk.free = GB
    answer = send(analyst_client, project)
    assert answer.status_code == 507
    text = answer.content.decode()
    assert "disk is almost full" in text
    assert "what was saved before is safe" in text
    assert list(media.iterdir()) == []
    assert not Import.objects.exists()


def test_a_disk_that_fills_up_in_the_middle_leaves_no_torn_file(
    analyst: User, project: Project, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sync(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", sync)
    with pytest.raises(AppError) as caught:
        projects.upload(
            actor=analyst, project=project, file=SimpleUploadedFile("a.jsonl", LINES), wake=False
        )
    assert (caught.value.code, caught.value.status) == ("disk_full", 507)
    assert list(media.iterdir()) == []
    assert not Import.objects.exists()


def test_a_file_has_its_name_only_when_it_is_whole(
    analyst: User, project: Project, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    real = __import__("os").fsync

    def sync(descriptor: int) -> None:
        seen.extend(path.name for path in media.iterdir())
        real(descriptor)

    monkeypatch.setattr("os.fsync", sync)
    record = projects.upload(
        actor=analyst, project=project, file=SimpleUploadedFile("a.jsonl", LINES), wake=False
    )
    assert [Path(name).suffix for name in seen] == [".part"]
    assert projects.stored(record).read_bytes() == LINES
    assert [path.name for path in media.iterdir()] == [Path(record.file).name]


def test_a_temporary_file_that_does_not_fit_is_answered_alike(
    analyst_client: Client, project: Project, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large bodies go to a temporary file before any of our code sees them."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("django.core.files.uploadhandler.MemoryFileUploadHandler.new_file", full)
    answer = send(analyst_client, project)
    assert answer.status_code == 507
    assert "what was saved before is safe" in answer.content.decode()
    assert not Import.objects.exists()


def test_a_database_that_is_full_is_answered_alike(
    analyst_client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlite3

    from django.db import OperationalError

    def full(*_: object, **__: object) -> None:
        cause = sqlite3.OperationalError("database or disk is full")
        cause.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise OperationalError("database or disk is full") from cause

    monkeypatch.setattr("projects.views.data.selectors.project", full)
    answer = send(analyst_client, project)
    assert answer.status_code == 507
    assert "almost full" in answer.content.decode()


def test_tests_do_not_depend_on_the_disk_they_run_on() -> None:
    assert settings.DISK_RESERVE_MB == 0
