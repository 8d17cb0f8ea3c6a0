"""Row 16: a deploy in the middle of a run: program, queue and database of different versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import ProgrammingError
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from accounts.models import User
from analyses import services, tasks
from analyses.models import AnalysisSession, BlockReason, SessionStatus
from core import database, q2
from projects.models import Dataset, Project
from tests.analyses.worker.support import run
from tests.faults.support import tick, told_by_page

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def newer() -> Iterator[None]:
    """The database was migrated by a version that this program does not know."""
    row = MigrationRecorder.Migration.objects.create(app="core", name="0999_from_the_future")
    yield
    row.delete()


@pytest.fixture
def older() -> Iterator[None]:
    """A migration of this program has not been applied."""
    last = MigrationRecorder.Migration.objects.filter(app="analyses").order_by("name").last()
    assert last is not None
    name = last.name
    last.delete()
    yield
    MigrationRecorder.Migration.objects.create(app="analyses", name=name)


def test_tables_of_this_version_are_current(db: None) -> None:
    assert database.schema() == "current"


def test_an_older_database_is_refused_with_the_way_out(older: None) -> None:
    assert database.schema() == "older"
    with pytest.raises(CommandError, match=r"Run `manage\.py setup` first"):
        call_command("serve", "--no-web")


def test_a_newer_database_is_refused_with_the_way_out(newer: None) -> None:
    assert database.schema() == "newer"
    for command in (["serve", "--no-web"], ["setup"]):
        with pytest.raises(CommandError, match="newer version of OpenClio"):
            call_command(*command)


def missing(*_: Any, **__: Any) -> None:
    raise ProgrammingError('column "from_the_future" does not exist')


@pytest.mark.parametrize("state", ["older", "newer"])
def test_pages_and_api_say_upgrade_instead_of_a_fault(
    request: pytest.FixtureRequest,
    viewer: User,
    signed_in: Callable[[User], Client],
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
) -> None:
    client = signed_in(viewer)
    client.raise_request_exception = False
    request.getfixturevalue(state)
    for place in ("projects.views.data.selectors.project", "projects.api.selectors.projects"):
        monkeypatch.setattr(place, missing)
    page = client.get(f"/p/{project.slug}/")
    assert page.status_code == 503
    assert "OpenClio is being upgraded" in page.content.decode()
    assert "from_the_future" not in page.content.decode()
    answer = client.get("/api/v1/projects")
    assert (answer.status_code, answer.json()["code"]) == (503, "upgrade")


def test_the_same_fault_in_tables_of_this_version_is_ours(
    viewer: User,
    signed_in: Callable[[User], Client],
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = signed_in(viewer)
    client.raise_request_exception = False
    monkeypatch.setattr("projects.views.data.selectors.project", missing)
    assert client.get(f"/p/{project.slug}/").status_code == 500


def test_a_worker_says_upgrade_in_one_line(newer: None, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(tasks.log, "error", said.append)

    async def broken(_: object) -> None:
        missing()

    monkeypatch.setattr("analyses.tasks.Worker.run", broken)
    tasks.pump()
    assert len(said) == 1
    assert "newer version of OpenClio" in said[0]


def test_a_wake_up_with_arguments_of_another_version_is_taken(db: None) -> None:
    q2.wake(services.pumps.PUMP, 7, "of another version")
    tasks.pump(7, "of another version", unknown=True)


def test_a_run_of_an_unknown_version_waits_and_says_so(
    talks: Callable[..., Dataset], start: Callable[..., AnalysisSession]
) -> None:
    session = start(talks(12))
    known = session.pipeline_version
    AnalysisSession.objects.update(pipeline_version="99")
    session = run(tick(session))
    assert (session.status, session.reason) == (SessionStatus.BLOCKED, BlockReason.UPGRADE)
    assert not session.items.exists()
    said = told_by_page(session)
    assert "another version of OpenClio" in said
    assert "What was read is saved." in said
    AnalysisSession.objects.update(pipeline_version=known, retry_at=None)
    session = run(tick(session))
    assert session.status == SessionStatus.COMPLETED, session.detail
