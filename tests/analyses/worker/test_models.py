"""A model reads: its books, its failures, its keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from accounts.models import User
from analyses import export, services
from analyses.models import (
    AnalysisSession,
    Outcome,
    SessionStatus,
)
from analyses.report_file import report_html
from analyses.runner.worker import Worker
from core import work
from core.models import WorkStatus
from projects.models import Dataset
from providers.clients.scripted import Act, Scenario, Step
from providers.models import CallState, LlmAttempt, LlmCall, ModelDeployment, Provider
from tests.analyses.worker.support import Told, check_books, picture, run, table, worker_run

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_model_reads_everything_and_its_books_add_up(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
) -> None:
    session = run(start(talks(40), chat=model))
    assert session.status == SessionStatus.COMPLETED, session.detail
    check_books(session)
    calls = LlmCall.objects.filter(analysis_id=session.pk)
    assert calls.count() == told.requests == len(told.settled)
    assert set(calls.values_list("state", flat=True)) == {CallState.OK}
    assert calls.filter(purpose="facets").count() == 40
    assert set(told.settled.values()) == {1}
    assert session.tokens_in == sum(calls.values_list("tokens_in", flat=True)) > 0
    assert session.cost == sum(call.cost for call in calls if call.cost)
    figures = export.run_json(session)
    assert figures["calls"] == told.requests
    assert figures["repeated_calls"] == figures["in_doubt"] == figures["unpriced_calls"] == 0
    assert figures["engine"] == "scripted-1"
    again = run(start(session.dataset, chat=model))
    assert told.requests == calls.count()
    assert (again.tokens_in, again.cost) == (0, 0)
    assert picture(again) == picture(session)


def test_failing_conversations_are_recorded_and_the_rest_completes(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
) -> None:
    told.play(Scenario(mix=(Step(weight=0.8), Step(act=Act.CONTENT_FILTER, weight=0.2)), seed=11))
    session = run(start(talks(40), chat=model))
    check_books(session)
    failed = session.items.filter(outcome=Outcome.FAILED)
    assert 0 < failed.count() < 30
    assert (session.status, session.reason) == (SessionStatus.PARTIAL, "skipped")
    assert str(failed.count()) in session.detail
    assert set(failed.values_list("error_class", flat=True)) == {"content_filter"}
    assert all(failed.values_list("error", flat=True))
    assert (
        session.retry_count == LlmAttempt.objects.filter(call__analysis_id=session.pk).count() > 0
    )
    gone = set(failed.values_list("conversation__external_id", flat=True))
    for row in table(session):
        assert (row["cluster"] == row["x"] == row["request"] == "") == (row["id"] in gone)


def test_a_wrong_key_blocks_and_going_on_reads_the_rest(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    analyst: User,
) -> None:
    told.play(Scenario(opening=(Step(),) * 12 + (Step(act=Act.UNAUTHORIZED),) * 40))
    session = run(start(talks(40), chat=model))
    assert (session.status, session.reason) == (SessionStatus.BLOCKED, "key")
    assert session.detail
    assert not session.batches.filter(status=WorkStatus.LEASED).exists()
    assert set(session.batches.values_list("attempt", flat=True)) <= {0, 1}
    asked = told.requests
    assert asked <= 12 + 16
    told.play(Scenario())
    services.resume(actor=analyst, session=session)
    session = run(session)
    assert session.status == SessionStatus.COMPLETED
    check_books(session)
    assert set(told.settled.values()) == {1}
    assert told.requests <= LlmCall.objects.count()


def test_a_new_key_is_used_by_a_worker_that_stayed(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    analyst: User,
) -> None:
    told.play(Scenario(mix=(Step(act=Act.UNAUTHORIZED),)))
    session = start(talks(20), chat=model)

    def state() -> str:
        return AnalysisSession.objects.get(pk=session.pk).status

    async def fix() -> None:
        worker = Worker(session_id=session.pk, idle_exit=3)
        running = asyncio.create_task(worker.run())
        while await asyncio.to_thread(state) != SessionStatus.BLOCKED:
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.2)
        told.play(Scenario())
        await asyncio.to_thread(services.resume, actor=analyst, session=session)
        while await asyncio.to_thread(state) != SessionStatus.COMPLETED:
            await asyncio.sleep(0.05)
            assert not running.done()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    worker_run(fix())
    session.refresh_from_db()
    check_books(session)


def test_a_key_that_cannot_be_read_blocks(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
) -> None:
    Provider.objects.update(key_encrypted="not-a-token")
    session = run(start(talks(12), chat=model))
    assert (session.status, session.reason) == (SessionStatus.BLOCKED, "key")
    assert "key" in session.detail
    assert session.failed_count == 0


def test_a_conversation_that_breaks_our_code_is_skipped_alone(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from analyses.pipeline.facets import FacetsStage

    read = FacetsStage.read_one

    async def breaks(stage: Any, prepared: Any, context: Any) -> Any:
        if prepared.position == 3:
            raise ZeroDivisionError("a bug")
        return await read(stage, prepared, context)

    monkeypatch.setattr(FacetsStage, "read_one", breaks)
    session = run(start(talks(12)))
    assert (session.status, session.failed_count) == (SessionStatus.PARTIAL, 1)
    assert session.items.get(outcome=Outcome.FAILED).error_class == "internal"
    check_books(session)


def test_a_stage_that_breaks_fails_the_analysis_with_its_name(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    monkeypatch: pytest.MonkeyPatch,
    analyst: User,
) -> None:
    from analyses.pipeline.cluster import ClusterStage

    whole = ClusterStage.run

    def breaks(stage: Any, inputs: Any, context: Any) -> Any:
        raise MemoryError("no room")

    monkeypatch.setattr(ClusterStage, "run", breaks)
    monkeypatch.setattr(work, "MAX_ATTEMPTS", 1)
    session = run(start(talks(12)))
    assert (session.status, session.reason) == (SessionStatus.FAILED, "stage")
    assert session.detail.startswith("Cluster: ")
    monkeypatch.setattr(ClusterStage, "run", whole)
    services.resume(actor=analyst, session=session)
    assert run(session).status == SessionStatus.COMPLETED
    check_books(session)


def test_hostile_answers_are_stored_as_text(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from analyses.pipeline.facets import FacetsStage
    from analyses.pipeline.records import FacetsRead

    hostile = '=HYPERLINK("http://x")\x00 <script>alert(1)</script> \ud800'

    async def answer(stage: Any, prepared: Any, context: Any) -> Any:
        values = {"request": hostile, "summary": hostile, "products": (hostile, "b"), "concern": 2}
        return FacetsRead(prepared.position, values, model="m\x00")

    monkeypatch.setattr(FacetsStage, "read_one", answer)
    session = run(start(talks(12)))
    assert session.status == SessionStatus.COMPLETED, session.detail
    check_books(session)
    for row in table(session):
        assert row["request"].startswith("'=HYPERLINK")
        assert "\x00" not in row["request"]
    assert "<script>alert(1)" not in report_html(session)
