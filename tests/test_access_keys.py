"""The access table holds for API keys too: they reach as far as person and key both do."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import Membership, Role, User, Workspace
from accounts.services import create_api_key
from tests.access_table import ROLES, Access
from tests.test_access import ROWS, World, address, outcome, send, session, world

__all__ = ["session", "world"]

API_ROWS = [(route, access) for route, access in ROWS if route.startswith("api/v1/projects")]
IDS = [f"{access.method} /{route}" for route, access in API_ROWS]


def with_key(user: User, workspace: Workspace, role: Role) -> Client:
    _, secret = create_api_key(actor=user, workspace=workspace, name="k", role=role)
    return Client(headers={"authorization": f"Bearer {secret}"}, enforce_csrf_checks=True)


def expected(access: Access, role: str) -> int:
    status = access.statuses[ROLES.index(role)]
    assert isinstance(status, int)
    return status


@pytest.mark.parametrize(("route", "access"), API_ROWS, ids=IDS)
def test_keys_of_every_role(
    route: str, access: Access, world: World, owner: User, analyst: User, viewer: User
) -> None:
    workspace = world.session.project.workspace
    url = address(route, access, world)
    for user, key_role, like in (
        (viewer, Role.VIEWER, "viewer"),
        (analyst, Role.VIEWER, "viewer"),
        (analyst, Role.ANALYST, "analyst"),
        (owner, Role.VIEWER, "viewer"),
        (owner, Role.ANALYST, "analyst"),
        (owner, Role.OWNER, "owner"),
    ):
        client = with_key(user, workspace, key_role)
        seen = outcome(send(client, url, access, world))
        assert seen == expected(access, like), (user.name, key_role)


@pytest.mark.parametrize(("route", "access"), API_ROWS, ids=IDS)
def test_a_key_of_another_workspace_opens_nothing_of_this_one(
    route: str,
    access: Access,
    world: World,
    owner: User,
    other_owner: User,
    other_workspace: Workspace,
) -> None:
    """Even for somebody who is an owner of both."""
    Membership.objects.create(workspace=other_workspace, user=owner, role=Role.OWNER)
    url = address(route, access, world)
    for user in (owner, other_owner):
        client = with_key(user, other_workspace, Role.OWNER)
        seen = outcome(send(client, url, access, world))
        assert seen == expected(access, "other"), user.name


def test_a_key_falls_with_its_persons_role(world: World, owner: User, analyst: User) -> None:
    workspace = world.session.project.workspace
    client = with_key(analyst, workspace, Role.ANALYST)
    url = f"/api/v1/projects/{world.slug}"
    assert client.get(url).status_code == 200
    Membership.objects.filter(user=analyst).update(role=Role.VIEWER)
    answer = client.post(
        f"{url}/sessions", {"dataset": 1, "template": "general"}, content_type="application/json"
    )
    assert answer.status_code == 403
    Membership.objects.filter(user=analyst).delete()
    assert client.get(url).status_code == 401
