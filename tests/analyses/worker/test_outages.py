"""A provider that is away, and conversations that are to blame themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from accounts.models import User
from analyses import artifacts, services
from analyses.models import AnalysisSession, ArtifactKind, Outcome, SessionStatus
from analyses.runner import outage
from analyses.runner.worker import Worker
from analyses.selectors import mapdata, tree
from analyses.selectors.notices import notice_of
from core.models import WorkStatus
from projects.models import Dataset
from providers.clients.scripted import Act, Scenario, Step
from providers.gateway.clock import SystemClock
from providers.gateway.retry import RetryPolicy
from providers.models import CallState, DeploymentHealth, LlmCall, ModelDeployment
from tests.analyses.worker.support import Told, check_books, picture, run, worker_run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analyses.runner.reading.AGAIN", (0.05, 0.1))
    monkeypatch.setattr("providers.gateway.gateway.RetryPolicy", partial(RetryPolicy, base=0.02))
    # Hundreds of calls fail one after the other; each waits for company in the journal.
    monkeypatch.setattr("providers.runner.gateways.GROUP_SECONDS", 0.001)


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (Act.REFUSED, "provider"),
        (Act.SERVER_ERROR, "provider"),
        (Act.QUOTA, "quota"),
        (Act.UNAUTHORIZED, "key"),
    ],
)
def test_an_outage_fails_no_conversation_and_ends_by_itself(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    analyst: User,
    act: Act,
    reason: str,
) -> None:
    told.play(Scenario(opening=(Step(),) * 12, mix=(Step(act=act),)))
    session = run(start(talks(40), chat=model))
    for _ in range(3):
        assert (session.status, session.reason) == (SessionStatus.BLOCKED, reason)
        assert not session.items.filter(outcome=Outcome.FAILED).exists()
        assert not session.batches.filter(status=WorkStatus.LEASED).exists()
        assert set(session.batches.values_list("attempt", flat=True)) <= {0, 1}
        if reason == "key":
            services.resume(actor=analyst, session=session)
        session = again(session)
    told.play(Scenario())
    if reason == "key":
        services.resume(actor=analyst, session=session)
    session = again(session)
    assert session.status == SessionStatus.COMPLETED
    check_books(session)
    assert session.read_count == 40


@pytest.mark.parametrize("retry_after", [60, 30])
def test_a_rate_limit_for_everything_is_waited_out(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
    retry_after: float,
) -> None:
    """The server sends everybody away for a minute, again and again: nothing fails by that."""

    async def sleep(clock: SystemClock, seconds: float) -> None:
        """A minute passes at once; every caller has its own."""
        passed.set(passed.get() + seconds)
        await asyncio.sleep(0)

    passed = ContextVar("passed", default=0.0)
    monkeypatch.setattr(SystemClock, "monotonic", lambda clock: passed.get())
    monkeypatch.setattr(SystemClock, "sleep", sleep)
    away = Step(act=Act.RATE_LIMIT, retry_after=retry_after)
    told.play(Scenario(opening=(Step(),) * 12, mix=(away,)))
    session = run(start(talks(40), chat=model))
    for blocks in (1, 2):
        assert (session.status, session.reason) == (SessionStatus.BLOCKED, "provider")
        assert "rate limit" in session.detail
        assert session.blocks == blocks
        assert session.retry_at is not None
        assert timedelta(0) < session.retry_at - timezone.now() < timedelta(minutes=2)
        notice = notice_of(session)
        assert notice is not None
        assert "Tried again " in notice.text
        assert not session.items.filter(outcome=Outcome.FAILED).exists()
        assert not session.batches.filter(status=WorkStatus.LEASED).exists()
        assert not LlmCall.objects.filter(state__in=(CallState.SENT, CallState.DOUBT)).exists()
        before = told.requests
        services.tick()  # its time has not come
        assert run(session).status == SessionStatus.BLOCKED
        assert told.requests == before
        session = again(session)
    told.play(Scenario())
    session = again(session)
    assert (session.status, session.failed_count) == (SessionStatus.COMPLETED, 0)
    check_books(session)


def again(session: AnalysisSession) -> AnalysisSession:
    """The time of the block and of the model's rest has passed: the tick and a worker, no person."""
    past = timezone.now() - timedelta(seconds=1)
    DeploymentHealth.objects.exclude(retry_at=None).update(retry_at=past)
    AnalysisSession.objects.filter(pk=session.pk).exclude(retry_at=None).update(retry_at=past)
    services.tick()
    return run(session)


def test_an_outage_while_naming_waits_instead_of_doing_without(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
) -> None:
    dataset = talks(40)
    expected = picture(run(start(dataset, chat=model)))
    reading = told.requests
    told.seen().clear()
    names = LlmCall.objects.exclude(purpose="facets").count()
    assert 0 < names < reading
    LlmCall.objects.all().delete()
    told.play(Scenario(opening=(Step(),) * 41, mix=(Step(act=Act.SERVER_ERROR),)))
    session = run(start(dataset, chat=model))
    assert (session.status, session.reason) == (SessionStatus.BLOCKED, "provider")
    assert session.read_count == 40
    told.play(Scenario())
    session = again(session)
    assert session.status == SessionStatus.COMPLETED
    assert picture(session) == expected


def test_a_conversation_that_trips_the_server_alone_is_skipped(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
) -> None:
    """The provider answers everything else, so the analysis does not wait for ever."""
    step = told.client.script.next_step

    def trips(body: Any) -> Step:
        bad = "My case is 7." in str(body["messages"])
        return Step(act=Act.SERVER_ERROR) if bad else step(body)

    told.client.script.next_step = trips  # type: ignore[method-assign]
    session = run(start(talks(20), chat=model))
    assert (session.status, session.failed_count) == (SessionStatus.PARTIAL, 1)
    failed = session.items.get(outcome=Outcome.FAILED)
    assert (failed.position, failed.error_class) == (7, "server")
    check_books(session)


@pytest.mark.parametrize("act", [Act.SERVER_ERROR, Act.CONTENT_FILTER])
def test_a_text_that_is_never_embedded_spoils_no_other(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    act: Act,
) -> None:
    """The provider embeds everything else: the analysis neither waits for ever nor fails."""
    vectors = ModelDeployment.objects.create(
        provider=model.provider, model="scripted-vectors", embeds=True
    )
    step = told.client.script.next_step
    dataset = talks(30)
    session = start(dataset, embedding=vectors)
    run(session, skip=frozenset({"embed"}))
    row = session.items.get(position=7)
    row.text = "the one text that no server takes"
    row.save()

    def trips(body: Any) -> Step:
        return Step(act=act) if row.text in body.get("input", ()) else step(body)

    told.client.script.next_step = trips  # type: ignore[method-assign]
    session = run(session)
    assert (session.status, session.failed_count) == (SessionStatus.COMPLETED, 0), session.detail
    assert "1 conversation could not be embedded" in " ".join(session.warnings)
    check_books(session)
    found = artifacts.load(session, ArtifactKind.VECTORS)
    assert found is not None
    assert [int(place) for place in np.flatnonzero(~np.asarray(found).any(axis=1))] == [7]
    assert not row.memberships.filter(cluster__provisional=False).exists()


@pytest.mark.parametrize(
    ("act", "end"),
    [(Act.SERVER_ERROR, ("blocked", "provider")), (Act.CONTENT_FILTER, ("failed", "stage"))],
)
def test_a_provider_that_embeds_nothing_is_no_matter_of_single_texts(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    act: Act,
    end: tuple[str, str],
) -> None:
    vectors = ModelDeployment.objects.create(
        provider=model.provider, model="scripted-vectors", embeds=True
    )
    told.play(Scenario(mix=(Step(act=act),)))
    session = start(talks(12), embedding=vectors)
    for _ in range(3):
        session.batches.update(not_before=None)
        session = run(session)
    assert (session.status, session.reason) == end
    assert told.requests < 40


def test_only_what_one_conversation_can_cause_is_asked_about() -> None:
    assert outage.OWN < outage.PASSING
    assert {"network", "rate_limit", "quota", "auth"} <= outage.PASSING - outage.OWN
    assert not outage.PASSING & {"content_filter", "bad_answer", "context_length", "bad_request"}


def shown(session: AnalysisSession) -> mapdata.Picture | None:
    session.refresh_from_db()
    return mapdata.picture(session, tree.tree_of(session))


def test_failed_conversations_are_read_again_and_the_result_is_as_if_nothing_had_failed(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    analyst: User,
) -> None:
    dataset = talks(60)
    told.play(Scenario(mix=(Step(weight=0.8), Step(act=Act.CONTENT_FILTER, weight=0.2)), seed=11))
    session = run(start(dataset, chat=model))
    assert session.status == SessionStatus.PARTIAL
    check_books(session)
    before, missing = picture(session), session.failed_count
    answered = len(told.settled)
    told.play(Scenario())
    services.retry_failed(actor=analyst, session=session)
    assert picture(session)[1:] == before[1:]
    old = shown(session)
    assert old is not None
    for stage in ("embed", "cluster", "hierarchy"):
        session = run(session, skip=frozenset({stage}))
        now = shown(session)
        assert now is not None
        assert (now.positions.tolist(), now.keys.tolist()) == (
            old.positions.tolist(),
            old.keys.tolist(),
        )
    session = run(session)
    now = shown(session)
    assert now is not None
    assert len(now.positions) == 60
    assert (session.status, session.read_count) == (SessionStatus.COMPLETED, 60)
    check_books(session)
    assert session.clusters.filter(provisional=True).count() == 0
    assert told.requests >= missing
    assert set(told.settled.values()) == {1}
    assert len(told.settled) > answered
    whole = run(start(dataset, chat=model))
    assert picture(session) == picture(whole)


def test_other_models_are_asked_after_a_change(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    analyst: User,
) -> None:
    """By a worker that stayed and has ports to the first."""
    told.play(Scenario(latency=0.02))
    other = ModelDeployment.objects.create(provider=model.provider, model="scripted-2")
    session = start(talks(40), chat=model)

    async def change() -> None:
        running = asyncio.create_task(Worker(session_id=session.pk, idle_exit=3).run())
        while told.requests < 10:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(swap)
        await running

    def swap() -> None:
        services.pause(actor=analyst, session=session)
        while AnalysisSession.objects.get(pk=session.pk).status != SessionStatus.PAUSED:
            services.tick()
        services.change_providers(actor=analyst, session=session, chat=other)
        services.resume(actor=analyst, session=session)

    worker_run(change())
    session.refresh_from_db()
    assert session.status == SessionStatus.COMPLETED
    check_books(session)
    assert set(session.items.values_list("model", flat=True)) == {"scripted-1", "scripted-2"}
