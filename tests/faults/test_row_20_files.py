"""Row 20: an uploaded file is corrupt or gone, or a result's file is gone between stages."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.models import User
from analyses import artifacts
from analyses.models import AnalysisSession, Artifact, ArtifactKind, SessionStatus
from projects import services as projects
from projects.models import Dataset, DatasetStatus, Import, Project
from projects.runner import run_import
from tests.analyses.worker.support import check_books, picture, run
from tests.faults.support import tick

pytestmark = pytest.mark.django_db(transaction=True)

DAY = 24 * 3600
LINES = b'{"messages": [{"role": "user", "content": "Hello there"}]}\n' * 3


def sent(actor: User, project: Project, content: bytes, name: str = "june.jsonl") -> Import:
    return projects.upload(
        actor=actor, project=project, file=SimpleUploadedFile(name, content), wake=False
    )


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\x01\x02\x03" * 500,
        b"\x1f\x8b\x08\x00 this is no gzip",
        b"<html><body>Sign in to download</body></html>",
        b'{"messages": [{"role": "user", "content": "cut in the mid',
    ],
    ids=["binary", "torn gzip", "a web page", "torn line"],
)
def test_a_corrupt_file_fails_its_data_set_by_name(
    analyst: User, analyst_client: Client, project: Project, content: bytes
) -> None:
    record = sent(analyst, project, content, "broken.jsonl")
    run_import(record.pk)
    record.refresh_from_db()
    dataset = record.dataset
    dataset.refresh_from_db()
    assert dataset.status == DatasetStatus.FAILED
    assert record.error
    page = analyst_client.get(f"/p/{project.slug}/data/{dataset.number}/").content.decode()
    assert "broken.jsonl" in page
    # The next upload works, and nothing of the broken one is in it.
    good = sent(analyst, project, LINES)
    run_import(good.pk)
    good.dataset.refresh_from_db()
    assert good.dataset.status == DatasetStatus.READY
    assert good.dataset.conversation_count == 3


def test_a_file_that_is_gone_before_it_is_read_says_so(
    analyst: User, analyst_client: Client, project: Project
) -> None:
    record = sent(analyst, project, LINES)
    projects.stored(record).unlink()
    run_import(record.pk)
    record.refresh_from_db()
    assert "Upload it again" in record.error
    page = analyst_client.get(f"/p/{project.slug}/data/{record.dataset.number}/").content.decode()
    assert "june.jsonl" in page
    assert "Upload it again" in page


def test_a_run_needs_the_rows_and_not_the_file(
    analyst: User,
    project: Project,
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
) -> None:
    """Once read, conversations are in the database: losing the upload stops no run."""
    dataset = talks(24)
    for record in dataset.imports.all():
        assert not projects.stored(record).exists()
    assert run(start(dataset)).status == SessionStatus.COMPLETED


@pytest.mark.parametrize("kind", [ArtifactKind.VECTORS, ArtifactKind.LABELS])
def test_a_result_that_is_gone_is_made_again(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """Deleted the moment it was there, before the next stage reads it."""
    dataset = talks(24)
    expected = picture(run(start(dataset)))
    session = start(dataset)
    real = artifacts.point
    lost: list[str] = []

    def point(row: AnalysisSession, what: str, path: str, *args: int) -> None:
        real(row, what, path, *args)
        if what == kind and not lost:
            lost.append(path)
            (artifacts.root() / path).unlink()

    for place in ("analyses.artifacts.point", "analyses.runner.saving.artifacts.point"):
        monkeypatch.setattr(place, point)
    monkeypatch.setattr("analyses.runner.whole.ELSEWHERE", timedelta(0))
    monkeypatch.setattr("analyses.runner.whole.BESIDE", timedelta(0))
    for _ in range(6):
        session = run(tick(session))
        if session.ended:
            break
    assert lost
    assert session.status == SessionStatus.COMPLETED, (session.status, session.detail)
    check_books(session)
    assert picture(session) == expected
    assert not Artifact.objects.filter(session=session, path__in=lost).exists()


def test_what_a_killed_upload_left_is_removed_after_a_day(
    analyst: User, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = sent(analyst, project, LINES)
    folder = projects.uploads()
    left, going = folder / "left.part", folder / "going.part"
    for path, age in ((left, DAY + 60), (going, DAY - 60), (projects.stored(record), 9 * DAY)):
        path.write_bytes(LINES)
        os.utime(path, (time.time() - age, time.time() - age))
    monkeypatch.setattr("projects.services.ticking._swept", float("-inf"))
    projects.tick()
    assert not left.exists()
    assert going.exists(), "somebody may still be sending it"
    assert projects.stored(record).exists()
    going.unlink()
