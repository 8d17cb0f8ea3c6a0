"""The standing cast: one workspace with its three roles, a stranger, and another workspace.

Fixtures are plain rows, not mocks, so a test reads and writes what the product does.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import hypothesis
import pytest
from django.db.backends.postgresql.operations import DatabaseOperations
from django.test import Client

from accounts.models import Membership, Role, User, Workspace
from core.models import WorkStatus
from projects.models import Conversation, Dataset, DatasetStatus, Import, Project

# Machines are shared: how long an example takes says nothing about the code. In continuous
# integration the examples are the same every time; elsewhere they are new ones.
hypothesis.settings.register_profile(
    "shared",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("shared")


@pytest.fixture(scope="session", autouse=True)
def _empty_tables_quickly() -> None:
    """Tests with several connections empty all tables afterwards. PostgreSQL's TRUNCATE makes new
    files for each of them, about half a second; deleting the few rows takes hundredths."""

    def emptying(
        self: DatabaseOperations,
        style: object,
        tables: list[str],
        *,
        reset_sequences: bool = False,
        allow_cascade: bool = False,
    ) -> list[str]:
        names = [self.quote_name(table) for table in tables]
        # Rows may go in any order: nothing is left that could point at them.
        deletes = ["SET LOCAL session_replication_role = replica"]
        return ["; ".join([*deletes, *(f"DELETE FROM {name}" for name in names)])] if names else []

    DatabaseOperations.sql_flush = emptying


PASSWORD = "correct horse battery staple"
SIGN_IN_BACKEND = "django.contrib.auth.backends.ModelBackend"
REQUESTS = (
    ("I cannot sign in since I changed my phone", "en"),
    ("Please refund the second charge on my card", "en"),
    ("¿Cómo exporto mis informes a una hoja de cálculo?", "es"),
)


def _person(name: str) -> User:
    return User.objects.create_user(f"{name}@example.org", PASSWORD, name=name.title())


@pytest.fixture
def workspace(db: None) -> Workspace:
    return Workspace.objects.create(name="Northwind")


@pytest.fixture
def other_workspace(db: None) -> Workspace:
    return Workspace.objects.create(name="Elsewhere")


@pytest.fixture
def owner(workspace: Workspace) -> User:
    user = _person("olga")
    Membership.objects.create(workspace=workspace, user=user, role=Role.OWNER)
    return user


@pytest.fixture
def analyst(workspace: Workspace) -> User:
    user = _person("anders")
    Membership.objects.create(workspace=workspace, user=user, role=Role.ANALYST)
    return user


@pytest.fixture
def viewer(workspace: Workspace) -> User:
    user = _person("vera")
    Membership.objects.create(workspace=workspace, user=user, role=Role.VIEWER)
    return user


@pytest.fixture
def outsider(db: None) -> User:
    """Signed in, member of nothing."""
    return _person("otto")


@pytest.fixture
def other_owner(other_workspace: Workspace) -> User:
    """Owner of a workspace that has nothing to do with ``workspace``."""
    user = _person("edda")
    Membership.objects.create(workspace=other_workspace, user=user, role=Role.OWNER)
    return user


@pytest.fixture
def project(workspace: Workspace) -> Project:
    return Project.objects.create(workspace=workspace, name="Support", slug="support")


@pytest.fixture
def other_project(other_workspace: Workspace) -> Project:
    return Project.objects.create(workspace=other_workspace, name="Secret", slug="secret")


@pytest.fixture
def make_dataset() -> Callable[..., Dataset]:
    """``make_dataset(project, size=12)``: a ready data set of short conversations in two languages.

    Every conversation has an end user of its own and they lie one hour apart.
    """

    def make(project: Project, *, size: int = 12, name: str = "June chats") -> Dataset:
        start = datetime(2026, 6, 1, 9, tzinfo=UTC)
        number = Dataset.objects.filter(project=project).count() + 1
        dataset = Dataset.objects.create(
            project=project,
            number=number,
            name=name,
            status=DatasetStatus.READY,
            conversation_count=size,
            message_count=2 * size,
            token_count=20 * size,
            user_count=size,
            first_at=start,
            last_at=start + timedelta(hours=size),
            languages={"en": size - size // 3, "es": size // 3},
        )
        record = Import.objects.create(
            dataset=dataset,
            file=f"uploads/{dataset.pk}.jsonl",
            filename="june.jsonl",
            size=1000,
            bytes_read=1000,
            accepted=size,
            format="jsonl",
            status=WorkStatus.DONE,
        )
        rows = []
        for position in range(size):
            text, language = REQUESTS[position % len(REQUESTS)]
            at = start + timedelta(hours=position)
            rows.append(
                Conversation(
                    dataset=dataset,
                    record=record,
                    position=position,
                    external_id=f"c-{position}",
                    end_user=f"u-{position}",
                    language=language,
                    started_at=at,
                    ended_at=at,
                    message_count=2,
                    token_count=20,
                    content_hash=f"{position:064x}",
                    messages=[
                        {"role": "user", "content": f"{text} ({position})"},
                        {"role": "assistant", "content": "Let me look into that."},
                    ],
                )
            )
        Conversation.objects.bulk_create(rows)
        return dataset

    return make


@pytest.fixture
def dataset(project: Project, make_dataset: Callable[..., Dataset]) -> Dataset:
    return make_dataset(project)


@pytest.fixture
def signed_in() -> Callable[[User], Client]:
    """``signed_in(user)``: a test client with that person's session."""

    def enter(user: User) -> Client:
        client = Client()
        client.force_login(user, backend=SIGN_IN_BACKEND)
        return client

    return enter


@pytest.fixture
def owner_client(owner: User, signed_in: Callable[[User], Client]) -> Client:
    return signed_in(owner)


@pytest.fixture
def analyst_client(analyst: User, signed_in: Callable[[User], Client]) -> Client:
    return signed_in(analyst)


@pytest.fixture
def viewer_client(viewer: User, signed_in: Callable[[User], Client]) -> Client:
    return signed_in(viewer)


@pytest.fixture
def outsider_client(outsider: User, signed_in: Callable[[User], Client]) -> Client:
    return signed_in(outsider)


@pytest.fixture
def other_owner_client(other_owner: User, signed_in: Callable[[User], Client]) -> Client:
    return signed_in(other_owner)
