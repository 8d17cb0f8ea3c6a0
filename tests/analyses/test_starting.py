"""Starting analyses."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from django_q.models import OrmQ

from accounts.models import AuditEvent, User, Workspace
from analyses import plan
from analyses.models import (
    AnalysisSession,
    SessionStatus,
)
from core import work
from core.errors import Conflict, Forbidden, Invalid, NotFound
from core.models import WorkStatus
from projects.models import Dataset, DatasetStatus, Project
from templates_app.models import AnalysisTemplate, TemplateVersion
from tests.analyses.support import deployment

ME = work.owner_name()


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
