"""Deleting, restoring, purging, exporting and grouping anew: what jobs do to analyses and data."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from analyses import artifacts
from analyses.models import (
    AnalysisItem,
    AnalysisSession,
    Artifact,
    Cluster,
    FacetValue,
    SessionStatus,
)
from analyses.selectors import sessions
from core.errors import Conflict, Forbidden, NotFound
from core.models import WorkStatus
from projects import runner, selectors
from projects.models import Conversation, Dataset, Import, Job
from projects.services import ticking
from projects.services.jobs import start_job, undo_job
from providers.models import CallState, LlmCall
from tests.analyses import builders

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, settings) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.ARTIFACTS_ROOT = tmp_path / "artifacts"


def test_deleted_analyses_are_gone_at_once_and_come_back(project, analyst, done):
    job = start_job(actor=analyst, project=project, kind="delete_analyses", ids=[done.number])
    with pytest.raises(NotFound):
        sessions.session_for(analyst, project.slug, done.number)
    runner.run_job(job.pk)
    undo_job(actor=analyst, job=job)
    assert sessions.session_for(analyst, project.slug, done.number) == done
    assert undo_job(actor=analyst, job=job).undone_at


def test_an_analysis_at_work_is_stopped_when_deleted(do, start):
    session = start()
    do("delete_analyses", ids=[session.number])
    session.refresh_from_db()
    assert session.status == SessionStatus.CANCELLED
    assert session.deleted_at


def test_a_deleted_data_set_takes_its_analyses_along(do, project, analyst, done, start):
    live = start(dataset=done.dataset)
    job = do("delete_datasets", ids=[done.dataset.number])
    assert done.dataset not in selectors.datasets(project)
    with pytest.raises(NotFound):
        selectors.dataset(analyst, project.slug, done.dataset.number)
    assert not AnalysisSession.objects.for_user(analyst).exists()
    live.refresh_from_db()
    assert live.status == SessionStatus.CANCELLED
    assert job.title == "Delete 1 data set"
    undo_job(actor=analyst, job=job)
    assert sessions.session_for(analyst, project.slug, done.number) == done
    assert done.dataset in selectors.datasets(project)


def test_undo_brings_back_only_what_this_job_deleted(do, make_dataset, project, analyst):
    for _ in range(3):
        make_dataset(project)
    first = do("delete_datasets", ids=[1])
    second = do("delete_datasets", matching={})
    assert second.total == 2
    undo_job(actor=analyst, job=second)
    kept = project.datasets.filter(deleted_at=None).order_by("number")
    assert list(kept.values_list("number", flat=True)) == [2, 3]
    undo_job(actor=analyst, job=first)
    assert project.datasets.filter(deleted_at=None).count() == 3


def test_deleted_conversations_leave_the_figures_and_come_back(do, dataset, analyst):
    job = do("delete_conversations", settings={"dataset": 1}, ids=[0, 1, 5])
    dataset.refresh_from_db()
    assert (job.done, dataset.conversation_count, dataset.message_count) == (3, 9, 18)
    undo_job(actor=analyst, job=job)
    dataset.refresh_from_db()
    assert dataset.conversation_count == 12


def test_the_filter_of_explore_chooses_conversations(do, done):
    leaf = done.clusters.filter(leaf=0).get()
    job = do(
        "delete_conversations",
        settings={"analysis": done.number},
        matching={"c": str(leaf.key), "f.language": "de"},
    )
    gone = done.items.filter(conversation__deleted_at__isnull=False)
    wanted = done.items.filter(memberships__cluster=leaf, language="de")
    assert set(gone) == set(wanted)
    assert job.total == wanted.count() > 0


@pytest.fixture
def in_trash(do, done) -> AnalysisSession:
    do("delete_analyses", ids=[done.number])
    done.refresh_from_db()
    return done


def call_of(session: AnalysisSession) -> LlmCall:
    return LlmCall.objects.create(
        workspace=session.project.workspace,
        analysis_id=session.pk,
        fingerprint="f" * 64,
        purpose="facets",
        provider="p",
        model="m",
        state=CallState.OK,
        response="private words",
        cost="0.25",
        sent_at=timezone.now(),
    )


def test_purging_an_analysis_removes_rows_and_files_and_keeps_the_books(
    do, owner, in_trash, project
):
    call = call_of(in_trash)
    folder = artifacts.root() / str(in_trash.uid)
    assert folder.exists()
    job = do("purge", actor=owner, settings={"what": "analyses"}, ids=[in_trash.number])
    assert (job.done, job.failed) == (1, 0)
    for model in (AnalysisSession, AnalysisItem, FacetValue, Cluster, Artifact):
        assert not model.objects.exists()
    assert not folder.exists()
    call.refresh_from_db()
    assert (call.response, float(call.cost)) == ("", 0.25)
    assert call.fingerprint != "f" * 64
    assert Conversation.objects.count() == 200


def test_answers_stay_while_another_analysis_stands_on_them(do, owner, in_trash, analyst):
    builders.session_for(in_trash.dataset, analyst)
    call = call_of(in_trash)
    do("purge", actor=owner, settings={"what": "analyses"}, ids=[in_trash.number])
    call.refresh_from_db()
    assert call.response == "private words"


def test_only_what_lies_in_the_trash_is_purged_and_only_by_owners(do, analyst, owner, done):
    from core.errors import Invalid

    with pytest.raises(Invalid):
        do("purge", actor=owner, settings={"what": "analyses"}, ids=[done.number])
    with pytest.raises(Forbidden):
        do("purge", actor=analyst, settings={"what": "analyses"}, ids=[done.number])


def test_purging_a_data_set_takes_everything_of_it(do, owner, done, project, make_dataset):
    other = make_dataset(project)
    path = runner_file(done.dataset)
    deleted = do("delete_datasets", ids=[done.dataset.number])
    do("purge", actor=owner, settings={"what": "datasets"}, ids=[done.dataset.number])
    assert list(Dataset.objects.all()) == [other]
    assert not AnalysisSession.objects.exists()
    assert Conversation.objects.count() == other.conversation_count
    assert not path.exists()
    assert undo_job(actor=owner, job=deleted).result["restored"] == 0


def runner_file(dataset: Dataset) -> Path:
    from projects.services import stored

    path = stored(dataset.imports.get())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("private words")
    return path


def test_purged_conversations_leave_empty_places(
    do, owner, done, django_capture_on_commit_callbacks
):
    path = runner_file(done.dataset)
    job = do("delete_conversations", settings={"dataset": done.dataset.number}, ids=[3])
    with django_capture_on_commit_callbacks(execute=True):
        do("purge", actor=owner, settings={"what": "conversations", "job": job.pk})
    row = done.dataset.conversations.get(position=3)
    assert (row.messages, row.external_id, row.end_user) == ([], "deleted-3", "")
    item = done.items.get(position=3)
    assert (item.title, item.values.count()) == ("", 0)
    assert done.items.count() == 200
    assert not path.exists()
    with pytest.raises(Conflict):
        undo_job(actor=owner, job=Job.objects.get(pk=job.pk))


def test_what_is_being_purged_cannot_be_undone(do, owner, done, project):
    deleted = do("delete_datasets", ids=[done.dataset.number])
    start_job(
        actor=owner,
        project=project,
        kind="purge",
        settings={"what": "datasets"},
        ids=[done.dataset.number],
    )
    undo_job(actor=owner, job=deleted)
    done.dataset.refresh_from_db()
    assert done.dataset.deleted_at


def test_after_thirty_days_the_trash_empties_itself(do, in_trash, make_dataset, project):
    old = timezone.now() - timedelta(days=31)
    AnalysisSession.objects.filter(pk=in_trash.pk).update(deleted_at=old)
    ticking.sweep(now=True)
    ticking.sweep(now=True)
    (job,) = Job.objects.filter(kind="purge")
    assert job.created_by is None
    runner.run_job(job.pk)
    assert not AnalysisSession.objects.exists()


def test_a_killed_purge_is_finished_by_the_next_worker(do, owner, in_trash, project, monkeypatch):
    class Killed(BaseException):
        pass

    job = start_job(
        actor=owner,
        project=project,
        kind="purge",
        settings={"what": "analyses"},
        ids=[in_trash.number],
    )
    removed = Cluster.objects.filter
    monkeypatch.setattr(Cluster.objects, "filter", lambda **_: (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        runner.run_job(job.pk)
    assert not AnalysisItem.objects.exists()
    monkeypatch.setattr(Cluster.objects, "filter", removed)
    Job.objects.filter(pk=job.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    ticking.tick()
    runner.run_job(job.pk)
    assert not AnalysisSession.objects.exists()
    assert Job.objects.get(pk=job.pk).status == WorkStatus.DONE


def test_a_stopped_import_keeps_nothing(project, analyst, tmp_path):
    from projects.services.imports import cancel_import, retry_import, upload

    path = tmp_path / "up.jsonl"
    path.write_text('{"id":"1","messages":[{"role":"user","content":"hi"}]}\n')
    record = upload(actor=analyst, project=project, file=path, wake=False)
    cancel_import(actor=analyst, record=record)
    assert not runner.run_import(record.pk)
    record.refresh_from_db()
    assert record.status == WorkStatus.CANCELLED
    again = retry_import(actor=analyst, record=record, wake=False)
    assert runner.run_import(again.pk)
    assert Import.objects.count() == 2
    assert Conversation.objects.count() == 1
    assert Dataset.objects.get().status == "ready"


def test_the_reader_says_what_was_deleted_and_shows_no_word_of_it(do, done, analyst_client):
    do("delete_conversations", settings={"dataset": done.dataset.number}, ids=[4])
    base = f"/p/support/analyses/{done.number}"
    for url in (f"{base}/conversations/4/", f"{base}/explore/?i=4"):
        page = analyst_client.get(url).content.decode()
        assert "This conversation was deleted" in page
        assert "Let me look into that" not in page
    shown = analyst_client.post(f"{base}/conversations/4/reveal/").content.decode()
    assert "Let me look into that" not in shown
    assert (
        "Let me look into that" in analyst_client.get(f"{base}/conversations/5/").content.decode()
    )
