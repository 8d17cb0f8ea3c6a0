"""The access table holds: every address, every role, the status it promises."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from accounts.models import ApiKey, Membership, Role, User
from accounts.services import create_api_key
from analyses.models import (
    AnalysisItem,
    AnalysisSession,
    Cluster,
    ClusterMembership,
    Outcome,
    SessionStatus,
)
from config.api import api
from projects.models import Dataset, Job, Project
from projects.services.jobs import start_job
from providers.models import ModelDeployment, Provider, ProviderKind
from templates_app.models import TemplateVersion
from templates_app.services import ensure_shipped
from tests.access_table import LOGIN, ROLES, TABLE, Access, Status

LINE = b'{"id": "1", "messages": [{"role": "user", "content": "Hello there"}]}\n'
ROWS = [(route, access) for route, rows in TABLE.items() for access in rows]


@dataclass
class World:
    """What the routes' values are filled from."""

    slug: str
    number: int
    position: int
    key_number: int
    session: AnalysisSession
    running: AnalysisSession
    provider: Provider
    membership: Membership
    key: ApiKey
    job: Job
    trashed: AnalysisSession
    import_pk: int
    token: str = "wrong"
    uid: str = "wrong"

    def upload(self) -> SimpleUploadedFile:
        return SimpleUploadedFile("one.jsonl", LINE)


@pytest.fixture
def session(project: Project, dataset: Dataset, owner: User) -> AnalysisSession:
    """A small finished analysis with one theme."""
    ensure_shipped()
    version = TemplateVersion.objects.get(template__key="general")
    made = AnalysisSession.objects.create(
        project=project,
        dataset=dataset,
        template_version=version,
        number=7,
        name="First",
        status=SessionStatus.COMPLETED,
        pipeline_version="1",
        total=dataset.conversation_count,
        read_count=dataset.conversation_count,
        created_by=owner,
    )
    theme = Cluster.objects.create(
        session=made, key=1, level=1, leaf=0, name="Sign in", size=12, x=0.5, y=0.5, hue=1
    )
    for row in dataset.conversations.all():
        item = AnalysisItem.objects.create(
            session=made,
            conversation=row,
            position=row.position,
            outcome=Outcome.READ,
            kept_to=2,
            title="Get back into an account",
        )
        ClusterMembership.objects.create(cluster=theme, item=item, similarity=0.9)
    return made


@pytest.fixture
def world(
    session: AnalysisSession, analyst: User, viewer: User, other_owner: User, outsider: User
) -> World:
    workspace = session.project.workspace
    running = AnalysisSession.objects.create(
        project=session.project,
        dataset=session.dataset,
        template_version=session.template_version,
        number=8,
        name="Second",
        status=SessionStatus.RUNNING,
        params=session.params,
        pipeline_version="1",
    )
    trashed = AnalysisSession.objects.create(
        project=session.project,
        dataset=session.dataset,
        template_version=session.template_version,
        number=9,
        name="Third",
        status=SessionStatus.COMPLETED,
        pipeline_version="1",
    )
    provider = Provider.objects.create(
        workspace=workspace, name="Scripted", kind=ProviderKind.SCRIPTED
    )
    ModelDeployment.objects.create(provider=provider, model="scripted")
    key, _ = create_api_key(actor=analyst, workspace=workspace, name="Nightly", role=Role.VIEWER)
    return World(
        slug=session.project.slug,
        number=1,
        position=0,
        key_number=1,
        session=session,
        running=running,
        provider=provider,
        membership=Membership.objects.get(user=viewer),
        key=key,
        job=start_job(actor=analyst, project=session.project, kind="delete_analyses", ids=[9]),
        trashed=trashed,
        import_pk=session.dataset.imports.get().pk,
    )


@pytest.fixture
def people(
    world: World,
    owner: User,
    analyst: User,
    viewer: User,
    outsider: User,
    other_owner: User,
    signed_in: Callable[[User], Client],
) -> dict[str, Client]:
    return {
        "anonymous": Client(),
        "outsider": signed_in(outsider),
        "other": signed_in(other_owner),
        "viewer": signed_in(viewer),
        "analyst": signed_in(analyst),
        "owner": signed_in(owner),
    }


def routes(patterns: list[Any], prefix: str = "") -> Iterator[str]:
    """Every route of the resolver; the operators' admin has a gate of its own."""
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            if route != "admin/":
                yield from routes(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield route


def address(route: str, access: Access, world: World) -> str:
    """The route with its values filled in."""

    def value(match: re.Match[str]) -> str:
        name = match["name"]
        if name in access.fill:
            return str(access.fill[name](world))
        return str(world.key_number if name == "key" else getattr(world, name))

    return "/" + re.sub(r"<(?:\w+:)?(?P<name>\w+)>", value, route)


def send(client: Client, url: str, access: Access, world: World) -> HttpResponse:
    """The request of a row, in a transaction of its own that is taken back."""
    form = {key: data(world) if callable(data) else data for key, data in access.form.items()}
    with transaction.atomic():
        if access.body is not None:
            answer = client.generic(
                access.method, url, json.dumps(access.body), content_type="application/json"
            )
        else:
            answer = getattr(client, access.method.lower())(url, form)
        transaction.set_rollback(True)
    return answer


def outcome(answer: HttpResponse) -> Status:
    """The status, or that the person was sent to sign in."""
    to = answer.headers.get("Location", "")
    return (
        LOGIN if answer.status_code == 302 and to.startswith("/sign-in/?") else answer.status_code
    )


def test_every_address_is_in_the_table() -> None:
    found = set(routes(get_resolver().url_patterns))
    assert found - set(TABLE) == set(), "addresses without a row in tests/access_table.py"
    assert set(TABLE) - found == set(), "rows for addresses that do not exist"


def test_every_operation_of_the_api_is_in_the_table() -> None:
    ours = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", "/" + route), access.method) for route, access in ROWS
    }
    for path, operations in api.get_openapi_schema()["paths"].items():
        for method in operations:
            assert (path, method.upper()) in ours


@pytest.mark.parametrize(
    ("route", "access"), ROWS, ids=[f"{access.method} /{route}" for route, access in ROWS]
)
def test_status(route: str, access: Access, world: World, people: dict[str, Client]) -> None:
    url = address(route, access, world)
    seen = {role: outcome(send(people[role], url, access, world)) for role in ROLES}
    assert seen == dict(zip(ROLES, access.statuses, strict=True))


def test_the_admin_lets_only_operators_in(people: dict[str, Client]) -> None:
    for client in people.values():
        answer = client.get("/admin/")
        assert answer.status_code == 302
        assert "login" in answer.headers["Location"]


def test_sign_in_page_is_where_the_settings_say(client: Client) -> None:
    assert client.get("/").headers["Location"] == f"{settings.LOGIN_URL}?next=/"
