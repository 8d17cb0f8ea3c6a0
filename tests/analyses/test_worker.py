"""The worker runs analyses to their end, whatever size, whatever happens on the way."""

from __future__ import annotations

import asyncio
import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from accounts.models import User
from analyses import artifacts, export, plan, services
from analyses.models import (
    AnalysisSession,
    ArtifactKind,
    Batch,
    Cluster,
    FacetValue,
    Outcome,
    SessionStatus,
)
from analyses.report_file import report_html
from analyses.runner import Worker
from core import work
from core.events import since
from core.models import Beat, WorkStatus
from projects.models import Conversation, Dataset, Project
from providers.clients.scripted import Act, Scenario, ScriptedClient, Step
from providers.gateway.journal import JournalRow
from providers.models import CallState, LlmAttempt, LlmCall, ModelDeployment, Provider, ProviderKind
from providers.runner import DatabaseJournal
from tests.analyses import builders

pytestmark = pytest.mark.django_db(transaction=True)

LIMIT = 240.0
"""Seconds; the first map of a machine compiles for a while."""
WISHES = (
    "reset the password of my account",
    "get a refund for a charge on my card",
    "export the report to a spreadsheet",
    "connect the webhook of the shop",
    "change the delivery address of an order",
)


@pytest.fixture
def talks(project: Project, make_dataset: Callable[..., Dataset]) -> Callable[..., Dataset]:
    """``talks(size)``: conversations about five different wishes."""

    def make(size: int, **how: Any) -> Dataset:
        dataset = make_dataset(project, size=size, **how)
        rows = list(dataset.conversations.all())
        for row in rows:
            wish = WISHES[row.position % len(WISHES)]
            row.messages = [
                {"role": "user", "content": f"Hello, I want to {wish}. My case is {row.position}."},
                {"role": "assistant", "content": "I have done that for you."},
                {"role": "user", "content": "Thank you, that works."},
            ]
        Conversation.objects.bulk_update(rows, ["messages"])
        return dataset

    return make


@pytest.fixture
def start(project: Project, analyst: User) -> Callable[..., AnalysisSession]:
    def begin(dataset: Dataset, **changes: Any) -> AnalysisSession:
        return services.start_session(
            actor=analyst,
            project=project,
            dataset=dataset,
            template_version=builders.template(),
            wake=False,
            **changes,
        )

    return begin


@pytest.fixture
def model(project: Project, settings: Any) -> ModelDeployment:
    provider = Provider.objects.create(
        workspace=project.workspace,
        name="Scripted",
        kind=ProviderKind.SCRIPTED,
        concurrency=4,
        first_byte_timeout=1.0,
        total_timeout=5.0,
    )
    return ModelDeployment.objects.create(
        provider=provider, model="scripted-1", price_in="1.0", price_out="2.0"
    )


class Told:
    """A scripted client shared by all workers of a test, and what the journal was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client = ScriptedClient()
        self.settled: Counter[str] = Counter()
        monkeypatch.setattr("analyses.runner.ports.ScriptedClient", lambda: self.client)
        write = DatabaseJournal.write

        def noted(journal: DatabaseJournal, rows: Sequence[JournalRow]) -> None:
            write(journal, rows)
            self.settled.update(row.fingerprint for row in rows if row.state == "ok")

        monkeypatch.setattr(DatabaseJournal, "write", noted)

    def play(self, scenario: Scenario) -> None:
        self.client = ScriptedClient(scenario)

    @property
    def requests(self) -> int:
        return self.client.script.requests

    def seen(self) -> Counter[str]:
        return self.client.script.seen


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(monkeypatch)


def run(session: AnalysisSession, **how: Any) -> AnalysisSession:
    """Work until nothing is left to do."""
    worker_run(Worker(session_id=session.pk, idle_exit=0.3, **how).run())
    session.refresh_from_db()
    return session


def worker_run(work: Any) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(LIMIT):
            return await work

    try:
        return asyncio.run(bounded())
    finally:
        connections.close_all()


def table(session: AnalysisSession) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(export.conversations_csv(session)))))


def picture(session: AnalysisSession) -> tuple[Any, ...]:
    """Everything a person sees of the result."""
    clusters = [
        {key: value for key, value in row.items() if key != "id"}
        for row in export.clusters_json(session)
    ]
    insights = list(session.insights.values_list("kind", "title", "count"))
    return table(session), clusters, insights


def check_books(session: AnalysisSession) -> None:
    """Every conversation has exactly one outcome and all counters agree with the rows."""
    items = session.items.order_by("position")
    assert list(items.values_list("position", flat=True)) == list(range(session.total))
    outcomes = Counter(items.values_list("outcome", flat=True))
    assert outcomes[Outcome.WAITING] == 0
    assert outcomes[Outcome.READ] == session.read_count
    assert outcomes[Outcome.FAILED] == session.failed_count
    for key in ("prepare", "facets"):
        stage = session.stages.get(key=key)
        assert (stage.items_done, stage.batches_done) == (session.total, stage.batches_total)
    assert not session.stages.filter(finished_at=None).exists()
    assert not session.batches.filter(status=WorkStatus.LEASED).exists()
    with_values = FacetValue.objects.filter(item__session=session).values("item").distinct().count()
    assert with_values == session.read_count
    labels = artifacts.load(session, ArtifactKind.LABELS)
    assert labels is not None
    assert len(labels) == session.read_count
    places = artifacts.load(session, ArtifactKind.MAP)
    assert places is not None
    assert places.shape == (session.read_count, 2)


# --- sizes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 2, 15, 50])
def test_every_size_completes_and_says_something(
    size: int, talks: Callable[..., Dataset], start: Callable[..., AnalysisSession]
) -> None:
    session = run(start(talks(size)))
    assert session.status == SessionStatus.COMPLETED, session.detail
    check_books(session)
    rows = table(session)
    assert [row["id"] for row in rows] == [f"c-{position}" for position in range(size)]
    assert all(row["x"] and row["y"] and row["request"] for row in rows)
    figures = export.run_json(session)
    assert (figures["conversations"], figures["read"], figures["failures"]) == (size, size, 0)
    assert figures["engine"] == "local engine"
    assert set(figures["seconds"]["stages"]) == {step.key for step in plan.STAGES}
    assert session.first_preview_at is not None or size == 0
    if size >= 15:
        clusters = export.clusters_json(session)
        assert any(row["level"] == 1 for row in clusters)
        assert sum(row["size"] for row in clusters if row["level"] == 1) <= size
        assert any(row["cluster"] for row in rows)
    assert "</html>" in report_html(session)
    seqs = [row["seq"] for row in since(session.topic, 0, limit=10_000)]
    assert seqs == list(range(1, len(seqs) + 1))
    assert not Beat.objects.filter(name__startswith="pump:").exists()


def test_equal_texts_keep_a_row_each(
    talks: Callable[..., Dataset], start: Callable[..., AnalysisSession]
) -> None:
    dataset = talks(20)
    same = dataset.conversations.get(position=0).messages
    dataset.conversations.filter(position__in=(5, 6, 19)).update(messages=same)
    session = run(start(dataset))
    check_books(session)
    rows = table(session)
    assert len(rows) == 20
    facets = [
        {k: v for k, v in rows[n].items() if k not in ("id", "x", "y")} for n in (0, 5, 6, 19)
    ]
    assert all(row == facets[0] for row in facets)


def test_a_conversation_without_text_is_skipped_with_its_reason(
    talks: Callable[..., Dataset], start: Callable[..., AnalysisSession]
) -> None:
    dataset = talks(12)
    dataset.conversations.filter(position=4).update(messages=[{"role": "user", "content": "  "}])
    session = run(start(dataset))
    assert (session.status, session.reason) == (SessionStatus.PARTIAL, "skipped")
    assert session.items.get(outcome=Outcome.FAILED).error_class == "empty"
    check_books(session)
    row = table(session)[4]
    assert (row["id"], row["cluster"], row["x"], row["request"]) == ("c-4", "", "", "")


def test_a_limit_reads_only_the_first(
    talks: Callable[..., Dataset], start: Callable[..., AnalysisSession]
) -> None:
    session = run(start(talks(30), limit=12))
    assert session.total == 12
    check_books(session)


def test_one_worker_does_many_analyses(
    talks: Callable[..., Dataset], start: Callable[..., AnalysisSession]
) -> None:
    sessions = [start(talks(12)) for _ in range(3)]
    worker_run(Worker(idle_exit=0.3).run())
    for session in sessions:
        session.refresh_from_db()
        assert session.status == SessionStatus.COMPLETED
        check_books(session)
    assert len({str(table(session)) for session in sessions}) == 1


# --- floors -------------------------------------------------------------------------------------


def test_withheld_groups_are_named_nowhere(
    talks: Callable[..., Dataset], start: Callable[..., AnalysisSession]
) -> None:
    """One person writes all conversations of one wish: that group must not be seen."""
    dataset = talks(100)
    rows = list(dataset.conversations.all())
    for row in rows:
        if row.position % len(WISHES) == 3:
            row.end_user = "one-and-the-same"
            text = f"Hello, I want to pickle zebra marmalade at home. My jar is {row.position}."
            row.messages = [{"role": "user", "content": text}]
    Conversation.objects.bulk_update(rows, ["messages", "end_user"])
    session = run(start(dataset, params={"clusters": 5}))
    assert session.status == SessionStatus.COMPLETED
    withheld = list(session.clusters.filter(shown=False, provisional=False))
    hidden = [
        row for row in withheld if "zebra" in row.name.lower() or "marmalade" in row.name.lower()
    ]
    assert hidden, list(session.clusters.values_list("name", "size", "users", "shown"))
    inside = set(
        session.items.filter(memberships__cluster__in=withheld).values_list("position", flat=True)
    )
    rows_of = table(session)
    assert inside
    for position, row in enumerate(rows_of):
        if position in inside:
            assert row["cluster"] == "", row
    names = {row.name for row in withheld}
    shown = {row["name"] for row in export.clusters_json(session)}
    assert not names & shown
    report = report_html(session)
    card = export.as_text(export.report_json(session))
    figures = export.as_text(export.run_json(session))
    said = " ".join(f"{row.title} {row.text}" for row in session.insights.all())
    for name in names - shown:
        for place in (report, card, figures, said):
            assert name not in place
    assert export.run_json(session)["withheld"] == len(withheld)


# --- a model ------------------------------------------------------------------------------------


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
    assert (session.status, session.reason) == (SessionStatus.BLOCKED, "auth")
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
    assert (session.status, session.reason) == (SessionStatus.BLOCKED, "auth")
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


# --- disturbances -------------------------------------------------------------------------------


@pytest.fixture
def undisturbed(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
) -> tuple[Dataset, tuple[Any, ...], int]:
    """A data set, the picture of an analysis that nothing disturbed, and its number of calls."""
    dataset = talks(60)
    session = run(start(dataset, chat=model))
    check_books(session)
    result, calls = picture(session), LlmCall.objects.count()
    # So that the next analysis of the same data has to ask again.
    LlmCall.objects.all().delete()
    told.settled.clear()
    told.play(Scenario(latency=0.02, jitter=0.02))
    return dataset, result, calls


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came")


def test_pause_and_resume_change_nothing(
    undisturbed: tuple[Dataset, tuple[Any, ...], int],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    analyst: User,
) -> None:
    dataset, expected, calls = undisturbed
    session = start(dataset, chat=model)

    async def disturbed() -> None:
        worker = Worker(session_id=session.pk, idle_exit=1.5)
        running = asyncio.create_task(worker.run())
        await until(lambda: told.requests >= 20)
        await asyncio.to_thread(services.pause, actor=analyst, session=session)
        await running

    worker_run(disturbed())
    services.tick()
    session.refresh_from_db()
    assert session.status == SessionStatus.PAUSED
    assert 20 <= told.requests < 60
    assert not session.batches.filter(status=WorkStatus.LEASED).exists()
    assert set(LlmCall.objects.values_list("state", flat=True)) == {CallState.OK}
    services.resume(actor=analyst, session=session)
    session = run(session)
    assert session.status == SessionStatus.COMPLETED
    check_books(session)
    assert picture(session) == expected
    assert told.requests == calls == LlmCall.objects.count()
    assert set(told.settled.values()) == {1}
    assert set(session.batches.filter(stage="facets").values_list("attempt", flat=True)) == {1}


def test_a_stop_keeps_what_was_read(
    undisturbed: tuple[Dataset, tuple[Any, ...], int],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    analyst: User,
) -> None:
    session = start(undisturbed[0], chat=model)

    async def disturbed() -> None:
        running = asyncio.create_task(Worker(session_id=session.pk, idle_exit=1.5).run())
        await until(lambda: told.requests >= 30)
        await asyncio.to_thread(services.cancel, actor=analyst, session=session)
        await running

    worker_run(disturbed())
    services.tick()
    session.refresh_from_db()
    assert session.status == SessionStatus.CANCELLED
    assert session.read_count == session.items.filter(outcome=Outcome.READ).count()
    assert len(table(session)) == session.items.count()


class Killed(BaseException):
    """The process is gone."""


def kill(session: AnalysisSession, when: Callable[[], bool] | None = None) -> bool:
    """A worker that vanishes: nothing is drained, given back or closed. Whether it did."""

    async def vanish() -> bool:
        worker = Worker(session_id=session.pk, idle_exit=1.5)

        async def nothing() -> None:
            worker._heart.stop()

        worker._close = nothing  # type: ignore[method-assign]
        running = asyncio.create_task(worker.run())
        if when is not None:
            await until(when)
            running.cancel()
        (ended,) = await asyncio.gather(running, return_exceptions=True)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        for pool in (worker._db, worker._heavy_db, worker._numbers):
            pool.shutdown(wait=True, cancel_futures=True)
        assert ended is None or isinstance(ended, Killed | asyncio.CancelledError)
        return ended is not None

    killed = worker_run(vanish())
    Batch.objects.filter(status=WorkStatus.LEASED).update(
        lease_until=timezone.now() - timedelta(seconds=1)
    )
    return bool(killed)


@pytest.mark.parametrize("after", [1, 17, 45])
def test_a_killed_worker_changes_nothing(
    undisturbed: tuple[Dataset, tuple[Any, ...], int],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
) -> None:
    dataset, expected, calls = undisturbed
    session = start(dataset, chat=model)
    kill(session, lambda: told.requests >= after)
    assert session.batches.filter(status=WorkStatus.LEASED).exists()
    sent = LlmCall.objects.filter(state=CallState.SENT).count()
    monkeypatch.setattr("analyses.runner.ports.owner_name", lambda: "elsewhere:2:2")
    services.tick()
    session = run(session)
    assert session.status == SessionStatus.COMPLETED, session.detail
    check_books(session)
    assert picture(session) == expected
    assert set(told.settled.values()) == {1}
    assert LlmCall.objects.count() == calls
    # Only what was in flight is asked again, and the books say so.
    twice = sum(count - 1 for count in told.seen().values())
    assert twice <= sent <= 4 + 8
    assert export.run_json(session)["repeated_calls"] == sent
    assert export.run_json(session)["in_doubt"] == 0


def test_a_worker_killed_in_every_stage_changes_nothing(
    undisturbed: tuple[Dataset, tuple[Any, ...], int],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
) -> None:
    dataset, expected, _ = undisturbed
    session = start(dataset, chat=model)
    kills = []
    for step in plan.STAGES:
        if kill_at_claim(session, step.key):
            kills.append(step.key)
        services.tick()
    assert len(kills) >= 7, kills
    session = run(session)
    assert session.status == SessionStatus.COMPLETED, session.detail
    check_books(session)
    assert picture(session) == expected
    assert set(told.settled.values()) == {1}


def kill_at_claim(session: AnalysisSession, key: str) -> bool:
    """Kill a worker in the moment in which it has claimed a batch of a stage."""
    claim = work.claim

    def fatal(candidates: Any, *, owner: str) -> Any:
        batch = claim(candidates, owner=owner)
        if batch is not None and batch.stage == key:
            raise Killed
        return batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "claim", fatal)
        return kill(session)


def test_leases_stolen_from_a_living_worker_change_nothing(
    undisturbed: tuple[Dataset, tuple[Any, ...], int],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A machine that slept: its leases ran out, it does not know, and another took over."""
    dataset, expected, _ = undisturbed
    session = start(dataset, chat=model)
    monkeypatch.setattr(work, "RENEW_EVERY", 3600.0)
    stolen = []

    def steal() -> None:
        mine = Batch.objects.filter(session=session, status=WorkStatus.LEASED, attempt=1)
        stolen.extend(mine.values_list("pk", flat=True))
        mine.update(lease_until=timezone.now() - timedelta(seconds=1))
        services.tick()
        connections.close_all()

    async def disturbed() -> None:
        running = asyncio.create_task(Worker(session_id=session.pk, idle_exit=0.5).run())
        while not running.done():
            await asyncio.sleep(0.1)
            await asyncio.to_thread(steal)
        await running

    worker_run(disturbed())
    session = run(session)
    assert stolen
    assert session.status == SessionStatus.COMPLETED, session.detail
    check_books(session)
    assert picture(session) == expected


def test_a_worker_that_fails_leaves_no_heart_behind(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else its process would hold the leases of work that nobody does, for ever."""
    session = start(talks(12))
    worker = Worker(session_id=session.pk)

    async def breaks() -> bool:
        raise OSError("too many open files")

    def still(owner: str) -> None:
        raise OSError("the database is away")

    monkeypatch.setattr(worker, "_save_ready", breaks)
    monkeypatch.setattr("analyses.runner.worker.still", still)
    with pytest.raises(OSError, match="database"):
        worker_run(worker.run())
    assert not worker._heart._thread.is_alive()
    monkeypatch.undo()
    Batch.objects.filter(status=WorkStatus.LEASED).update(
        lease_until=timezone.now() - timedelta(seconds=1)
    )
    services.tick()
    assert run(session).status == SessionStatus.COMPLETED


def test_provisional_clusters_give_way_to_final_ones(
    talks: Callable[..., Dataset], start: Callable[..., AnalysisSession]
) -> None:
    session = run(start(talks(60)))
    assert session.first_preview_at is not None
    assert session.previewed >= 50
    assert not Cluster.objects.filter(session=session, provisional=True).exists()
    changes = [
        row["payload"]["provisional"]
        for row in since(session.topic, 0)
        if row["kind"] == "clusters"
    ]
    assert changes[0] is True
    assert changes[-1] is False
