"""Row 6: what pages, the API and the health checks say while the database is away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.test import AsyncClient, Client

from accounts.models import User
from projects.models import Project
from tests.faults.support import (
    gone,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every statement of every thread fails."""
    from django.db.backends.utils import CursorWrapper

    def broken(*_: Any, **__: Any) -> None:
        raise gone()

    with monkeypatch.context() as patch:
        patch.setattr(CursorWrapper, "execute", broken)
        yield


@pytest.fixture
def visitor(viewer: User, signed_in: Callable[[User], Client]) -> Client:
    client = signed_in(viewer)
    client.raise_request_exception = False
    return client


def test_a_page_says_what_is_safe(visitor: Client, project: Project, away: None) -> None:
    answer = visitor.get(f"/p/{project.slug}/")
    assert answer.status_code == 503
    text = answer.content.decode()
    assert "What was saved is safe" in text
    assert "go on by themselves" in text
    assert (answer["Retry-After"], answer["Refresh"]) == ("10", "10")


def test_a_click_is_not_repeated_by_itself(visitor: Client, project: Project, away: None) -> None:
    answer = visitor.post(f"/p/{project.slug}/data/upload/")
    assert answer.status_code == 503
    assert "Refresh" not in answer


async def test_the_same_over_asgi(
    viewer: User, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = AsyncClient(raise_request_exception=False)
    # An earlier row may have ended the connection that this thread kept.
    await sync_to_async(connections.close_all)()
    await sync_to_async(client.force_login)(viewer, "django.contrib.auth.backends.ModelBackend")
    from django.db.backends.utils import CursorWrapper

    def broken(*_: Any, **__: Any) -> None:
        raise gone()

    with monkeypatch.context() as patch:
        patch.setattr(CursorWrapper, "execute", broken)
        answer = await client.get(f"/p/{project.slug}/")
    assert answer.status_code == 503
    assert "What was saved is safe" in answer.content.decode()


def test_the_api_answers_with_a_problem(visitor: Client, away: None) -> None:
    answer = visitor.get("/api/v1/projects")
    assert answer.status_code == 503
    assert answer["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert (body["code"], body["retryable"]) == ("unavailable", True)
    assert "safe" in body["title"]


def test_health_tells_the_process_from_the_database(client: Client, away: None) -> None:
    ready = client.get("/ready")
    assert ready.status_code == 503
    assert ready.json()["database"] is False
    assert client.get("/live").status_code == 200


def test_anything_else_is_still_a_fault_of_ours(
    visitor: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret text")

    monkeypatch.setattr("core.views.MigrationExecutor", broken)
    answer = visitor.get("/ready")
    assert answer.status_code == 500
    assert "secret" not in answer.content.decode()
