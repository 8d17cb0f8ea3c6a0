"""Exports as jobs: the same rows as the stream, whole files or none."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from core.errors import NotFound
from core.models import WorkStatus
from projects import runner
from projects.models import Job
from projects.services import ticking
from projects.services.jobs import start_job

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, settings) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.ARTIFACTS_ROOT = tmp_path / "artifacts"


def bytes_of(job: Job, analyst) -> bytes:
    from projects.services.files import open_file

    return open_file(job)[0].read()


def test_an_export_of_everything_is_the_same_csv(do, done, analyst):
    from analyses import export

    job = do("export", settings={"analysis": done.number, "formats": "conversations.csv"})
    assert (job.status, job.done) == (WorkStatus.DONE, 200)
    assert bytes_of(job, analyst).decode() == "".join(export.conversations_csv(done))
    assert job.result["filename"] == f"support-{done.number}-conversations.csv"
    assert job.file_until > timezone.now() + timedelta(days=6)


def test_an_export_of_a_filter_as_a_zip(do, done, analyst, viewer, tmp_path):
    import io
    import json
    import zipfile

    leaf = done.clusters.get(leaf=1)
    every = ["conversations.csv", "conversations.jsonl", "clusters.json", "report.json"]
    job = do(
        "export",
        actor=viewer,
        settings={"analysis": done.number, "formats": every},
        matching={"c": str(leaf.key)},
    )
    archive = zipfile.ZipFile(io.BytesIO(bytes_of(job, analyst)))
    assert archive.namelist() == every
    rows = [json.loads(line) for line in archive.read("conversations.jsonl").splitlines()]
    assert len(rows) == leaf.memberships.count() == job.total
    assert {row["cluster"] for row in rows} == {leaf.name}
    assert len(archive.read("conversations.csv").splitlines()) == len(rows) + 1
    assert json.loads(archive.read("report.json"))["adds_up"]
    assert [path.name for path in (tmp_path / "media/jobs").iterdir()] == [f"{job.uid}.zip"]


def test_a_killed_export_is_continued_without_a_torn_or_double_line(
    do, done, project, analyst, monkeypatch
):
    from analyses import export
    from analyses.export.files import Export

    monkeypatch.setattr(Export, "size", 30)
    settings = {"analysis": done.number, "formats": "conversations.csv"}
    job = start_job(actor=analyst, project=project, kind="export", settings=settings, matching={})
    appended, calls = Export._append, []

    class Killed(BaseException):
        pass

    def dies(self, held, lines, refs):
        appended(self, held, lines, refs)
        calls.append(refs)
        if len(calls) == 3:
            raise Killed  # its lines are in the file, but were not saved

    monkeypatch.setattr(Export, "_append", dies)
    with pytest.raises(Killed):
        runner.run_job(job.pk)
    Job.objects.filter(pk=job.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    ticking.tick()
    monkeypatch.setattr(Export, "_append", appended)
    assert runner.run_job(job.pk)
    job.refresh_from_db()
    assert job.status == WorkStatus.DONE
    assert bytes_of(job, analyst).decode() == "".join(export.conversations_csv(done))


def test_an_export_on_a_full_disk_leaves_no_file(done, project, analyst, monkeypatch, tmp_path):
    from analyses.export.files import Export

    settings = {"analysis": done.number}
    job = start_job(actor=analyst, project=project, kind="export", settings=settings, matching={})

    def full(self, *_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Export, "_append", full)
    runner.run_job(job.pk)
    job.refresh_from_db()
    assert (job.status, job.file) == (WorkStatus.QUARANTINED, "")
    assert "disk is full" in job.error
    ticking.sweep(now=True)
    assert not list((tmp_path / "media/jobs").iterdir())


def test_files_go_after_a_week(do, done, analyst):
    job = do("export", settings={"analysis": done.number})
    Job.objects.filter(pk=job.pk).update(file_until=timezone.now() - timedelta(seconds=1))
    ticking.sweep(now=True)
    job.refresh_from_db()
    with pytest.raises(NotFound):
        bytes_of(job, analyst)


def test_deleted_conversations_say_so_in_exports(do, done, analyst):
    do("delete_conversations", settings={"dataset": done.dataset.number}, ids=[4])
    job = do("export", settings={"analysis": done.number, "formats": "conversations.csv"})
    line = bytes_of(job, analyst).decode().splitlines()[5]
    assert line.startswith("c-4,(deleted),")
    assert set(line.removeprefix("c-4,(deleted)")) == {","}


def test_explore_hands_its_filter_to_a_job(done, analyst_client, viewer_client):
    leaf = done.clusters.get(leaf=0)
    page = viewer_client.get(f"/p/support/analyses/{done.number}/explore/?c={leaf.key}")
    fields = dict(
        re.findall(r'type="hidden" name="([\w.]+)" value="([^"]*)"', page.content.decode())
    )
    assert fields["m.c"] == str(leaf.key)
    sent = {key: value for key, value in fields.items() if key[:2] in ("m.", "s.", "al")}
    url = "/p/support/jobs/start/"
    asked = viewer_client.post(url, {**sent, "kind": "export"}).content.decode()
    assert f"Export {leaf.size} conversation" in asked
    assert viewer_client.post(url, {**sent, "kind": "reread"}).status_code == 403
    formats = ["conversations.csv", "report.json"]
    viewer_client.post(url, {**sent, "kind": "export", "confirm": "1", "s.formats": formats})
    job = Job.objects.get()
    assert job.params["settings"]["formats"] == formats
    assert job.total == leaf.memberships.count()
    runner.run_job(job.pk)
    answer = viewer_client.get(f"/p/support/jobs/{job.uid}/file/")
    name = f"support-{done.number}.zip"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'
