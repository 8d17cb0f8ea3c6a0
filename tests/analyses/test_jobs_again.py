"""Analyses grouped and read again: nothing is paid that was paid, the first one stays."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from django.utils import timezone

from analyses import artifacts, services
from analyses.models import AnalysisSession, ArtifactKind, FacetValue, Outcome, SessionStatus
from analyses.services.jobs import copying
from core.errors import Conflict
from core.models import WorkStatus
from projects import runner
from projects.models import Dataset, Job
from projects.services import ticking
from projects.services.jobs import cancel_job, start_job
from tests.analyses.worker.support import run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def folders(tmp_path, settings) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.ARTIFACTS_ROOT = tmp_path / "artifacts"


@pytest.fixture
def first(start, make_dataset, project) -> AnalysisSession:
    """A complete analysis by the local engine."""
    session = start(dataset=make_dataset(project, size=90), params={"floor_conversations": 2})
    run(session)
    session.refresh_from_db()
    assert session.status == SessionStatus.COMPLETED
    return session


def answers(session: AnalysisSession) -> list[tuple[object, ...]]:
    rows = FacetValue.objects.filter(item__session=session)
    fields = ("item__position", "facet_id", "text", "number", "flag")
    return sorted(rows.values_list(*fields), key=repr)


def again(project, analyst, session, kind="recluster", **settings) -> Job:
    return start_job(
        actor=analyst, project=project, kind=kind, settings=settings, ids=[session.number]
    )


def test_clustered_again_with_other_settings(first, project, analyst, monkeypatch):
    monkeypatch.setattr(copying, "COPIED", 20)
    job = again(project, analyst, first, clusters=2)
    assert runner.run_job(job.pk)
    job.refresh_from_db()
    assert (job.status, job.done, job.failed) == (WorkStatus.DONE, 1, 0)
    made = AnalysisSession.objects.get(based_on=first)
    run(made)
    made.refresh_from_db()
    assert made.status == SessionStatus.COMPLETED
    assert (made.number, made.total, made.read_count) == (first.number + 1, 90, 90)
    assert answers(made) == answers(first)
    assert made.clusters.filter(leaf__isnull=False, provisional=False).count() == 2
    vectors = [artifacts.load(row, ArtifactKind.VECTORS) for row in (first, made)]
    assert np.array_equal(*vectors)
    assert not made.batches.filter(stage__in=["prepare", "facets", "embed"]).exists()
    first.refresh_from_db()
    assert first.deleted_at is None
    assert job.result["links"][0]["name"] == made.name


def test_embedded_again(first, project, analyst):
    job = again(project, analyst, first, kind="reembed")
    runner.run_job(job.pk)
    made = AnalysisSession.objects.get(based_on=first)
    run(made)
    made.refresh_from_db()
    assert made.status == SessionStatus.COMPLETED
    assert made.batches.filter(stage="embed", status=WorkStatus.DONE).count() == 1
    assert answers(made) == answers(first)


def test_a_killed_copy_is_hidden_and_finished_by_the_next(first, project, analyst, monkeypatch):
    monkeypatch.setattr(copying, "COPIED", 20)

    class Killed(BaseException):
        pass

    copy, calls = copying._copy_range, []

    def dies(*args):
        if len(calls) == 2:
            raise Killed
        calls.append(args)
        copy(*args)

    monkeypatch.setattr(copying, "_copy_range", dies)
    job = again(project, analyst, first)
    with pytest.raises(Killed):
        runner.run_job(job.pk)
    assert not AnalysisSession.objects.for_user(analyst).filter(based_on=first).exists()
    services.tick()
    Job.objects.filter(pk=job.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    ticking.tick()
    ticking.sweep(now=True)
    monkeypatch.setattr(copying, "_copy_range", copy)
    runner.run_job(job.pk)
    made = AnalysisSession.objects.get(based_on=first)
    assert answers(made) == answers(first)
    assert made.items.count() == 90


def test_a_copy_that_was_stopped_is_swept(first, project, analyst, monkeypatch):
    job = again(project, analyst, first)

    def stopped(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(copying, "_copy_range", stopped)
    runner.run_job(job.pk)
    with pytest.raises(Conflict):
        cancel_job(actor=analyst, job=job)
    ticking.sweep(now=True)
    ticking.sweep(now=True)
    runner.run_job(Job.objects.get(kind="purge").pk)
    assert AnalysisSession.objects.get() == first


def test_what_was_not_read_is_refused_with_a_reason(start, project, analyst):
    session = start()
    job = again(project, analyst, session)
    runner.run_job(job.pk)
    job.refresh_from_db()
    assert (job.done, job.failed) == (0, 1)
    assert "not read" in job.items.get().error


def test_a_new_analysis_leaves_deleted_conversations_out(start, make_dataset, project, analyst):
    dataset: Dataset = make_dataset(project, size=40)
    gone = [0, 7, 38, 39]
    start_job(
        actor=analyst,
        project=project,
        kind="delete_conversations",
        settings={"dataset": dataset.number},
        ids=gone,
    )
    dataset.refresh_from_db()
    session = start(dataset=dataset)
    run(session)
    session.refresh_from_db()
    assert session.status == SessionStatus.COMPLETED
    assert (session.total, session.read_count, session.failed_count) == (36, 36, 0)
    rows = session.items.filter(outcome=Outcome.READ).order_by("position")
    assert list(rows.values_list("position", flat=True)) == list(range(36))
    read = rows.values_list("conversation__position", flat=True)
    assert set(read) == set(range(40)) - set(gone)


def test_a_limit_counts_what_is_there(start, make_dataset, project, analyst):
    dataset: Dataset = make_dataset(project, size=40)
    start_job(
        actor=analyst,
        project=project,
        kind="delete_conversations",
        settings={"dataset": dataset.number},
        ids=[0, 1, 2],
    )
    dataset.refresh_from_db()
    session = start(dataset=dataset, limit=10)
    run(session)
    session.refresh_from_db()
    read = session.items.order_by("position").values_list("conversation__position", flat=True)
    assert list(read) == list(range(3, 13))


def test_some_are_read_again_and_the_rest_is_taken_over(first, project, analyst, monkeypatch):
    monkeypatch.setattr(copying, "COPIED", 20)
    wrong = first.items.get(position=4)
    wrong.values.all().delete()
    FacetValue.objects.filter(item__session=first, item__position=5).update(text="kept")
    first.items.filter(position=6).update(outcome=Outcome.FAILED, error_class="internal")
    AnalysisSession.objects.filter(pk=first.pk).update(read_count=89, failed_count=1)
    job = start_job(
        actor=analyst,
        project=project,
        kind="reread",
        settings={"analysis": first.number},
        ids=[4, 6, 70],
    )
    runner.run_job(job.pk)
    job.refresh_from_db()
    assert (job.status, job.done, job.error) == (WorkStatus.DONE, 3, "")
    made = AnalysisSession.objects.get(based_on=first)
    waiting = made.items.filter(outcome=Outcome.WAITING).values_list("position", flat=True)
    assert sorted(waiting) == [4, 6, 70]
    run(made)
    made.refresh_from_db()
    assert made.status == SessionStatus.COMPLETED
    assert (made.read_count, made.failed_count) == (90, 0)
    assert made.items.get(position=4).values.exists()
    assert made.items.get(position=6).outcome == Outcome.READ
    assert "kept" in made.items.get(position=5).values.values_list("text", flat=True)
    assert not first.items.get(position=4).values.exists()


def test_what_is_at_work_is_not_read_again(going, project, analyst):
    session = going
    with pytest.raises(Conflict):
        start_job(
            actor=analyst,
            project=project,
            kind="reread",
            settings={"analysis": session.number},
            matching={},
        )
