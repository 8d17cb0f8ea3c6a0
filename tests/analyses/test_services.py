"""Starting, pausing, resuming and stopping analyses; saving batches; the tick."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_q.models import OrmQ

from accounts.models import AuditEvent, User, Workspace
from analyses import plan, services
from analyses.models import (
    AnalysisSession,
    Batch,
    Desired,
    Outcome,
    SessionStatus,
)
from analyses.services.advance import give_up
from analyses.services.sessions import claimable
from core import work
from core.errors import Conflict, Forbidden, Invalid, NotFound
from core.events import since
from core.models import Beat, WorkStatus
from core.work import LeaseLost
from projects.models import Dataset, DatasetStatus, Project
from providers.models import ModelDeployment, Provider, ProviderKind
from templates_app.models import AnalysisTemplate, TemplateVersion
from tests.analyses import builders

ME = work.owner_name()


@pytest.fixture
def version(db: None) -> TemplateVersion:
    return builders.template()


@pytest.fixture
def start(
    project: Project, dataset: Dataset, version: TemplateVersion, analyst: User
) -> Callable[..., AnalysisSession]:
    def begin(**changes: Any) -> AnalysisSession:
        values: dict[str, Any] = {
            "actor": analyst,
            "project": project,
            "dataset": dataset,
            "template_version": version,
            **changes,
        }
        return services.start_session(**values)

    return begin


def deployment(workspace: Workspace, **fields: Any) -> ModelDeployment:
    provider = Provider.objects.create(
        workspace=workspace,
        name=fields.pop("name", "Scripted"),
        kind=ProviderKind.SCRIPTED,
        enabled=fields.pop("enabled", True),
        concurrency=9,
    )
    return ModelDeployment.objects.create(provider=provider, model="m", **fields)


def claim(session: AnalysisSession, **only: Any) -> Batch:
    batch = work.claim(claimable().filter(session=session, **only).order_by("pk"), owner=ME)
    assert batch is not None
    return batch


def kinds(session: AnalysisSession) -> list[str]:
    return [row["kind"] for row in since(session.topic, 0)]


def statuses(session: AnalysisSession) -> list[str]:
    return [row["payload"]["status"] for row in since(session.topic, 0) if row["kind"] == "status"]


# --- start --------------------------------------------------------------------------------------


def test_starting_freezes_everything_and_lays_out_the_work(
    start: Callable[..., AnalysisSession], dataset: Dataset, analyst: User
) -> None:
    session = start(name="  Mine ", limit=11, params={"clusters": 3})
    assert (session.number, session.name, session.total) == (1, "Mine", 11)
    assert session.status == SessionStatus.RUNNING
    assert session.started_at is not None
    assert session.pipeline_version == plan.PIPELINE_VERSION
    params = plan.RunParams.model_validate(session.params)
    assert (params.limit, params.clusters, params.concurrency) == (11, 3, 4)
    batches = session.batches.values_list("stage", "seq", "first", "last", "status")
    assert list(batches) == [
        ("prepare", 0, 0, 10, WorkStatus.PENDING),
        ("prepare", 1, 10, 11, WorkStatus.PENDING),
    ]
    stages = list(session.stages.values_list("key", "opened", "batches_total", "items_total"))
    assert stages[:3] == [
        ("prepare", True, 2, 11),
        ("facets", True, 2, 11),
        ("embed", False, 0, 100),
    ]
    assert [key for key, *_ in stages] == [step.key for step in plan.STAGES]
    event = AuditEvent.objects.get(action="analysis.started")
    assert (event.actor, event.object_id) == (analyst, str(session.pk))
    assert OrmQ.objects.count() == 2
    second = start()
    assert (second.number, second.name) == (2, f"{dataset.name}, analysis 2")


@pytest.mark.parametrize("total", [0, 1, 9, 10, 11, 999, 1000, 1001, 25_000])
def test_batches_cover_every_conversation_once(
    start: Callable[..., AnalysisSession], dataset: Dataset, total: int
) -> None:
    Dataset.objects.filter(pk=dataset.pk).update(conversation_count=total)
    dataset.refresh_from_db()
    session = start(dataset=dataset)
    ranges = list(session.batches.order_by("seq").values_list("first", "last"))
    assert ranges[0][0] == 0
    assert ranges[-1][1] == total
    assert all(left[1] == right[0] for left, right in itertools.pairwise(ranges))
    assert len(ranges) <= max(1, total // 10 + 1, 100)
    assert max(last - first for first, last in ranges) <= 100 or total > 10_000


def test_roles(
    start: Callable[..., AnalysisSession], viewer: User, outsider: User, other_owner: User
) -> None:
    with pytest.raises(Forbidden):
        start(actor=viewer)
    for stranger in (outsider, other_owner):
        with pytest.raises(NotFound):
            start(actor=stranger)
    assert not AnalysisSession.objects.exists()
    assert not OrmQ.objects.exists()


def test_what_belongs_elsewhere_is_refused(
    start: Callable[..., AnalysisSession],
    other_project: Project,
    make_dataset: Callable[..., Dataset],
    workspace: Workspace,
    other_workspace: Workspace,
) -> None:
    template = AnalysisTemplate.objects.create(workspace=other_workspace, key="x", name="x")
    foreign: list[tuple[str, dict[str, Any]]] = [
        ("dataset", {"dataset": make_dataset(other_project)}),
        (
            "template",
            {"template_version": TemplateVersion.objects.create(template=template, number=1)},
        ),
        ("provider", {"chat": deployment(other_workspace)}),
        ("embedding", {"embedding": deployment(other_workspace, name="E", embeds=True)}),
        ("provider", {"chat": deployment(workspace, name="off", enabled=False)}),
        ("provider", {"chat": deployment(workspace, name="old", retired=True)}),
        ("provider", {"chat": deployment(workspace, name="vectors", embeds=True)}),
        ("embedding", {"embedding": deployment(workspace, name="chat")}),
    ]
    for field, changes in foreign:
        with pytest.raises(Invalid) as caught:
            start(**changes)
        assert caught.value.fields.keys() == {field}
    assert not AnalysisSession.objects.exists()


@pytest.mark.parametrize("status", [DatasetStatus.IMPORTING, DatasetStatus.FAILED])
def test_a_data_set_that_is_not_ready_is_refused(
    start: Callable[..., AnalysisSession], dataset: Dataset, status: str
) -> None:
    dataset.status = status
    dataset.save()
    with pytest.raises(Conflict):
        start()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": -1}, "limit"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 1001}, "concurrency"),
        ({"params": {"clusters": 0}}, "clusters"),
        ({"params": {"clusters": "many"}}, "clusters"),
        ({"params": {"floor_users": -1}}, "floor_users"),
        ({"params": {"cluster": 5}}, "cluster"),
    ],
)
def test_settings_are_validated(
    start: Callable[..., AnalysisSession], changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid) as caught:
        start(**changes)
    assert caught.value.fields.keys() == {field}
    assert not AnalysisSession.objects.exists()


def test_concurrency_comes_from_the_call_the_settings_or_the_provider(
    start: Callable[..., AnalysisSession], workspace: Workspace
) -> None:
    chat = deployment(workspace)
    assert start(chat=chat).params["concurrency"] == 9
    assert start(chat=chat, params={"concurrency": 3}).params["concurrency"] == 3
    assert start(chat=chat, params={"concurrency": 3}, concurrency=5).params["concurrency"] == 5
    assert start(params={"concurrency": None, "limit": None}).params["concurrency"] == 4


# --- wishes -------------------------------------------------------------------------------------

WISHES = {"pause": services.pause, "resume": services.resume, "cancel": services.cancel}
NO = "Conflict"
ANY = {
    # from: (pause, resume, cancel), without and with a batch in somebody's hands
    SessionStatus.QUEUED: (
        ("paused", "running", "cancelled"),
        ("pausing", "running", "cancelling"),
    ),
    SessionStatus.RUNNING: (
        ("paused", "running", "cancelled"),
        ("pausing", "running", "cancelling"),
    ),
    SessionStatus.PAUSING: (
        ("paused", "running", "cancelled"),
        ("pausing", "running", "cancelling"),
    ),
    SessionStatus.PAUSED: (
        ("paused", "running", "cancelled"),
        ("pausing", "running", "cancelling"),
    ),
    SessionStatus.BLOCKED: (
        ("paused", "running", "cancelled"),
        ("pausing", "running", "cancelling"),
    ),
    SessionStatus.CANCELLING: ((NO, NO, "cancelled"), (NO, NO, "cancelling")),
    SessionStatus.CANCELLED: ((NO, NO, NO), (NO, NO, NO)),
    SessionStatus.COMPLETED: ((NO, NO, NO), (NO, NO, NO)),
    SessionStatus.PARTIAL: ((NO, NO, NO), (NO, NO, NO)),
    SessionStatus.FAILED: ((NO, "running", NO), (NO, "running", NO)),
}
DESIRED = {
    SessionStatus.PAUSING: Desired.PAUSE,
    SessionStatus.PAUSED: Desired.PAUSE,
    SessionStatus.CANCELLING: Desired.CANCEL,
    SessionStatus.CANCELLED: Desired.CANCEL,
}
EDGES = [
    (status, wish, leased, ANY[status][leased][place])
    for status in SessionStatus.values
    for place, wish in enumerate(WISHES)
    for leased in (False, True)
]


@pytest.mark.parametrize(("status", "wish", "leased", "expected"), EDGES)
def test_every_wish_in_every_state(
    start: Callable[..., AnalysisSession],
    analyst: User,
    status: SessionStatus,
    wish: str,
    leased: bool,
    expected: str,
) -> None:
    session = start()
    if leased:
        claim(session)
    AnalysisSession.objects.filter(pk=session.pk).update(
        status=status, desired=DESIRED.get(status, Desired.RUN)
    )
    before = AnalysisSession.objects.values().get(pk=session.pk)
    audits = AuditEvent.objects.count()
    if expected == NO:
        with pytest.raises(Conflict):
            WISHES[wish](actor=analyst, session=session)
        assert AnalysisSession.objects.values().get(pk=session.pk) == before
        assert AuditEvent.objects.count() == audits
        return
    row = WISHES[wish](actor=analyst, session=session)
    session.refresh_from_db()
    assert row.status == session.status == expected
    assert AuditEvent.objects.count() == audits + 1
    assert (session.finished_at is not None) == (expected == "cancelled")


def test_wishes_need_a_role(
    start: Callable[..., AnalysisSession], viewer: User, other_owner: User
) -> None:
    session = start()
    for wish in WISHES.values():
        with pytest.raises(Forbidden):
            wish(actor=viewer, session=session)
        with pytest.raises(NotFound):
            wish(actor=other_owner, session=session)


def test_a_pause_ends_when_what_is_held_was_given_back(
    start: Callable[..., AnalysisSession], analyst: User
) -> None:
    session = start()
    batch = claim(session)
    assert services.pause(actor=analyst, session=session).status == SessionStatus.PAUSING
    assert not claimable().filter(session=session).exists()
    work.release(batch)
    services.tick()
    session.refresh_from_db()
    assert session.status == SessionStatus.PAUSED
    assert not claimable().exists()
    services.resume(actor=analyst, session=session)
    assert claimable().count() == 2
    assert statuses(session) == ["running", "pausing", "paused", "queued", "running"]


def test_a_stop_ends_although_the_worker_died(
    start: Callable[..., AnalysisSession], analyst: User
) -> None:
    session = start()
    batch = claim(session)
    assert services.cancel(actor=analyst, session=session).status == SessionStatus.CANCELLING
    Batch.objects.filter(pk=batch.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    assert services.tick() == 1
    session.refresh_from_db()
    assert session.status == SessionStatus.CANCELLED
    assert set(session.batches.values_list("status", flat=True)) == {WorkStatus.CANCELLED}
    assert services.tick() == 0


def test_a_quick_pause_resume_pause_never_claims_to_be_paused(
    start: Callable[..., AnalysisSession], analyst: User
) -> None:
    session = start()
    claim(session)
    for wish, expected in (("pause", "pausing"), ("resume", "running"), ("pause", "pausing")):
        assert WISHES[wish](actor=analyst, session=session).status == expected


def test_a_block_stays_until_somebody_goes_on(
    start: Callable[..., AnalysisSession], analyst: User
) -> None:
    session = start()
    services.block(session.pk, "auth", "The key is wrong.")
    services.tick()
    session.refresh_from_db()
    assert (session.status, session.reason, session.detail) == (
        "blocked",
        "auth",
        "The key is wrong.",
    )
    assert not claimable().exists()
    services.resume(actor=analyst, session=session)
    session.refresh_from_db()
    assert (session.status, session.reason, session.detail) == ("running", "", "")
    services.cancel(actor=analyst, session=session)
    services.block(session.pk, "auth", "too late")
    session.refresh_from_db()
    assert session.status == SessionStatus.CANCELLED


# --- batches ------------------------------------------------------------------------------------


def prepared(session: AnalysisSession) -> list[Batch]:
    """Prepare everything as the worker does; the batches that wait to be read."""
    for _ in range(session.batches.filter(stage="prepare").count()):
        batch = claim(session, stage="prepare")

        def write(row: AnalysisSession, batch: Batch = batch) -> None:
            pairs = row.dataset.conversations.filter(
                position__gte=batch.first, position__lt=batch.last
            )
            row.items.bulk_create(
                row.items.model(session=row, conversation=one, position=one.position)
                for one in pairs
            )
            Batch.objects.create(
                session=row, stage="facets", seq=batch.seq, first=batch.first, last=batch.last
            )

        services.saved(batch, write, done=batch.last - batch.first)
    return list(session.batches.filter(stage="facets"))


def test_the_last_batch_of_a_stage_opens_the_next(start: Callable[..., AnalysisSession]) -> None:
    session = start()
    assert len(prepared(session)) == 2
    assert session.stages.get(key="prepare").finished_at is not None
    for _ in range(2):
        assert not session.stages.get(key="embed").opened
        batch = claim(session, stage="facets")
        services.saved(batch, lambda row: None, done=batch.last - batch.first)
    session.refresh_from_db()
    assert session.read_count == 12
    assert session.stages.get(key="facets").items_done == 12
    assert session.stages.get(key="embed").opened
    assert session.batches.filter(stage="embed").count() == 1
    for _ in range(3):
        services.tick()
    assert session.batches.filter(stage="embed").count() == 1
    assert kinds(session).count("stage") == 2


def test_a_stale_writer_leaves_nothing(start: Callable[..., AnalysisSession]) -> None:
    session = start()
    zombie = claim(session)
    Batch.objects.filter(pk=zombie.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    services.tick()
    heir = claim(session, pk=zombie.pk)
    before = kinds(session)

    def write(row: AnalysisSession) -> None:
        AnalysisSession.objects.filter(pk=row.pk).update(notice="written by a zombie")

    with pytest.raises(LeaseLost):
        services.saved(zombie, write, done=10)
    with pytest.raises(LeaseLost):
        give_up(zombie, "late")
    session.refresh_from_db()
    assert session.notice == ""
    assert session.stages.get(key="prepare").batches_done == 0
    assert kinds(session) == before
    services.saved(heir, lambda row: None, done=10)
    assert session.stages.get(key="prepare").batches_done == 1


def die(session: AnalysisSession, **only: Any) -> None:
    """A worker claims and dies."""
    batch = claim(session, **only)
    Batch.objects.filter(pk=batch.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    services.tick()


@pytest.mark.parametrize("stage", ["prepare", "facets"])
@pytest.mark.parametrize("last", [False, True])
def test_a_range_that_kills_workers_is_skipped_and_the_rest_goes_on(
    start: Callable[..., AnalysisSession], stage: str, last: bool
) -> None:
    """Whether the poisoned range is the first or the very last to end."""
    session = start()
    if stage == "facets":
        prepared(session)
    poisoned = session.batches.filter(stage=stage).first()
    assert poisoned is not None
    sound = session.batches.filter(stage=stage).exclude(pk=poisoned.pk).get()

    def finish_sound() -> None:
        batch = claim(session, pk=sound.pk)
        services.saved(batch, lambda row: None, done=2)
        if stage == "prepare":
            Batch.objects.create(session=session, stage="facets", seq=1, first=10, last=12)
            services.saved(claim(session, stage="facets"), lambda row: None, done=2)

    if last:
        finish_sound()
    for _ in range(3):
        die(session, pk=poisoned.pk)
    if not last:
        finish_sound()
    session.refresh_from_db()
    assert (session.read_count, session.failed_count) == (2, 10)
    failed = session.items.filter(outcome=Outcome.FAILED)
    assert list(failed.values_list("position", flat=True)) == list(range(10))
    assert set(failed.values_list("error_class", flat=True)) == {"worker"}
    for key in ("prepare", "facets"):
        row = session.stages.get(key=key)
        assert (row.batches_done, row.items_done) == (2, 12), key
        assert row.finished_at is not None, key
    assert session.stages.get(key="embed").opened
    assert session.status == SessionStatus.RUNNING


def test_a_whole_stage_that_keeps_failing_fails_the_analysis_and_can_be_tried_again(
    start: Callable[..., AnalysisSession], analyst: User
) -> None:
    session = start()
    prepared(session)
    for _ in range(2):
        services.saved(claim(session, stage="facets"), lambda row: None, done=6)
    for _ in range(3):
        session.batches.filter(stage="embed").update(not_before=None)
        give_up(claim(session, stage="embed"), "MemoryError")
    session.refresh_from_db()
    assert (session.status, session.reason) == (SessionStatus.FAILED, "stage")
    assert session.detail == "Embed: MemoryError"
    assert session.finished_at is not None
    services.resume(actor=analyst, session=session)
    session.refresh_from_db()
    assert (session.status, session.finished_at) == (SessionStatus.RUNNING, None)
    batch = claim(session, stage="embed")
    assert batch.attempt == 1
    services.saved(batch, lambda row: None, done=100)
    assert session.stages.get(key="cluster").opened


def test_a_failure_while_pausing_is_not_hidden(
    start: Callable[..., AnalysisSession], analyst: User
) -> None:
    session = start()
    prepared(session)
    for _ in range(2):
        services.saved(claim(session, stage="facets"), lambda row: None, done=6)
    Batch.objects.filter(session=session, stage="embed").update(attempt=2)
    batch = claim(session, stage="embed")
    services.pause(actor=analyst, session=session)
    Batch.objects.filter(pk=batch.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    services.tick()
    session.refresh_from_db()
    assert session.status == SessionStatus.FAILED


def test_a_preview_is_asked_for_once_and_fails_nothing(
    project: Project,
    make_dataset: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
) -> None:
    session = start(dataset=make_dataset(project, size=120))
    prepared(session)
    previews = session.batches.filter(stage=plan.PREVIEW)
    for expected in (0, 0, 0, 0, 1, 1, 1):
        services.saved(claim(session, stage="facets"), lambda row: None, done=10)
        assert previews.count() == expected
    for _ in range(3):
        die(session, stage=plan.PREVIEW)
    session.refresh_from_db()
    assert (session.status, session.failed_count) == (SessionStatus.RUNNING, 0)


def test_waking_fills_only_what_is_idle(
    start: Callable[..., AnalysisSession], settings: Any
) -> None:
    settings.WORKERS = 3
    Beat.objects.create(name=f"pump:{ME}", beat_at=timezone.now())
    Beat.objects.create(name="pump:elsewhere:1:1", beat_at=timezone.now() - timedelta(minutes=1))
    start()
    assert OrmQ.objects.count() == 2
    start()
    services.tick()
    assert OrmQ.objects.count() == 2
