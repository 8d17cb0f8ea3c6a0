"""Pauses in stages that work on everything at once, what they tell, and files that are gone."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from analyses import artifacts, services
from analyses.models import AnalysisSession, ArtifactKind, Batch, SessionStatus
from analyses.pipeline import map as mapping
from analyses.runner.worker import Worker
from core.events import since
from core.models import WorkStatus
from projects.models import Dataset
from providers.clients.scripted import Scenario
from providers.models import CallState, LlmCall, ModelDeployment
from tests.analyses.worker.support import Told, check_books, picture, run, worker_run
from tests.analyses.worker.test_disturbances import until

pytestmark = pytest.mark.django_db(transaction=True)


def leased(session: AnalysisSession, stage: str) -> bool:
    return session.batches.filter(stage=stage, status=WorkStatus.LEASED).exists()


def test_a_pause_while_naming_keeps_every_answer_that_is_on_its_way(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    analyst: User,
) -> None:
    dataset = talks(40)
    expected = picture(run(start(dataset, chat=model)))
    LlmCall.objects.all().delete()
    told.settled.clear()
    told.play(Scenario(latency=0.6))
    session = start(dataset, chat=model)

    async def disturbed() -> None:
        running = asyncio.create_task(Worker(session_id=session.pk, idle_exit=2).run())
        others = LlmCall.objects.filter(analysis_id=session.pk).exclude(purpose="facets")
        while not await asyncio.to_thread(others.filter(state=CallState.SENT).exists):
            await asyncio.sleep(0.05)
        await asyncio.to_thread(services.pause, actor=analyst, session=session)
        await running

    worker_run(disturbed())
    session.refresh_from_db()
    assert session.status == SessionStatus.PAUSED
    assert not session.stages.get(key="report").finished_at
    assert set(LlmCall.objects.values_list("state", flat=True)) <= {CallState.OK, CallState.FAILED}
    cut = LlmCall.objects.filter(state=CallState.FAILED)
    assert set(cut.values_list("error_class", flat=True)) <= {"cancelled"}
    services.resume(actor=analyst, session=session)
    session = run(session)
    assert session.status == SessionStatus.COMPLETED
    assert picture(session) == expected
    assert set(told.settled.values()) == {1}


def test_a_pause_while_the_map_is_drawn_keeps_the_map(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    analyst: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw = mapping.draw
    begun: list[float] = []

    def slowly(*args: Any) -> Any:
        begun.append(time.monotonic())
        time.sleep(1.5)
        return draw(*args)

    monkeypatch.setattr(mapping, "draw", slowly)
    session = start(talks(30))

    async def disturbed() -> None:
        running = asyncio.create_task(Worker(session_id=session.pk, idle_exit=1.5).run())
        await until(lambda: bool(begun))
        row = await asyncio.to_thread(services.pause, actor=analyst, session=session)
        assert row.status == SessionStatus.PAUSING
        await running

    worker_run(disturbed())
    session.refresh_from_db()
    assert session.status == SessionStatus.PAUSED
    assert session.stages.get(key="map").finished_at is not None
    services.resume(actor=analyst, session=session)
    session = run(session)
    check_books(session)
    assert len(begun) == 1


def test_naming_tells_how_far_it_is(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However slow the machine: the server names two, then waits until that was told."""
    monkeypatch.setattr("analyses.runner.worker.HOUSEKEEPING", 0.05)
    session = start(talks(60), chat=model, params={"clusters": 12})
    answer, asked = told.client.chat, itertools.count()

    def far() -> list[int]:
        return [
            row["payload"]["done"]
            for row in since(session.topic, 0, limit=5000)
            if row["kind"] == "progress" and row["payload"]["stage"] == "name"
        ]

    async def stepwise(*given: Any) -> Any:
        if await asyncio.to_thread(leased, session, "name"):
            before = next(asked)
            while len(await asyncio.to_thread(far)) < before // 2:
                await asyncio.sleep(0.02)
        return await answer(*given)

    monkeypatch.setattr(told.client, "chat", stepwise)
    session = run(session)
    assert session.status == SessionStatus.COMPLETED
    done = far()
    assert len(done) >= 3
    assert done == sorted(done)
    assert done[-1] == 100


@pytest.mark.parametrize(
    ("stage", "lost"),
    [("cluster", "vectors"), ("hierarchy", "names"), ("insights", "tree"), ("report", "labels")],
)
def test_files_that_are_not_on_this_machine_are_made_again(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    stage: str,
    lost: str,
) -> None:
    dataset = talks(40)
    expected = picture(run(start(dataset)))
    session = start(dataset)
    run(session, skip=frozenset({stage}))
    assert session.batches.filter(stage=stage, status=WorkStatus.PENDING).exists()
    artifact = session.artifacts.get(kind=lost)
    (artifacts.root() / artifact.path).unlink()
    assert artifacts.is_missing(session, lost)
    # At first the machine that has the files gets a chance.
    run(session, reads=False)
    assert session.batches.filter(stage=stage, status=WorkStatus.PENDING).exists()
    assert artifacts.is_missing(session, lost)
    Batch.objects.filter(session=session).update(
        created_at=timezone.now().replace(year=2020), not_before=None
    )
    session = run(session)
    assert session.status == SessionStatus.COMPLETED, session.detail
    assert picture(session) == expected
    check_books(session)
    assert set(session.batches.values_list("status", flat=True)) <= {"done", "cancelled"}
    assert artifacts.load(session, ArtifactKind.VECTORS) is not None
