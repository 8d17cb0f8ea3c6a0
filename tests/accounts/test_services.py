"""Roles, the first owner's link, keys for programs, members."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import services
from accounts.models import ApiKey, AuditEvent, Membership, Role, SetupToken, User, Workspace
from core.errors import Conflict, Forbidden, Invalid, NotFound

pytestmark = pytest.mark.django_db


def token_of(link: str | None) -> str:
    assert link is not None
    return link.strip("/").split("/")[-1]


def test_roles_include_the_ones_before(workspace, viewer, analyst, owner) -> None:
    assert services.require(owner, workspace, Role.VIEWER) == Role.OWNER
    assert services.require(analyst, workspace, Role.ANALYST) == Role.ANALYST
    with pytest.raises(Forbidden):
        services.require(viewer, workspace, Role.ANALYST)
    with pytest.raises(Forbidden):
        services.require(analyst, workspace, Role.OWNER)


def test_strangers_and_closed_accounts_find_nothing(workspace, outsider, owner) -> None:
    with pytest.raises(NotFound):
        services.require(outsider, workspace, Role.VIEWER)
    owner.is_active = False
    with pytest.raises(NotFound):
        services.require(owner, workspace, Role.VIEWER)


def test_first_link_makes_the_first_owner_once(db) -> None:
    token = token_of(services.first_owner_link())
    assert token not in SetupToken.objects.get().digest
    details = {"name": "Mara", "email": "Mara@Example.org", "password": "a long password 1"}
    user = services.claim_first_owner(token=token, **details)
    workspace = Workspace.objects.get()
    assert services.role_of(user, workspace) == Role.OWNER
    assert user.email == "mara@example.org"
    assert user.check_password("a long password 1")
    assert AuditEvent.objects.filter(action="owner.claimed", actor=user).exists()
    with pytest.raises(NotFound):
        services.claim_first_owner(token=token, **{**details, "email": "b@example.org"})
    assert services.first_owner_link() is None


def test_a_newer_link_closes_the_older(db) -> None:
    old = token_of(services.first_owner_link())
    new = token_of(services.first_owner_link())
    with pytest.raises(NotFound):
        services.check_first_owner_link(old)
    services.check_first_owner_link(new)
    assert Workspace.objects.count() == 1


def test_first_owner_cannot_take_somebody_elses_address(db) -> None:
    User.objects.create_user("ann@example.org", None)
    token = token_of(services.first_owner_link())
    with pytest.raises(Invalid) as refused:
        services.claim_first_owner(
            token=token, name="A", email="ANN@example.org", password="a long password 1"
        )
    assert "email" in refused.value.fields
    services.check_first_owner_link(token)


def test_key_is_shown_once_and_only_its_hash_is_kept(workspace, analyst) -> None:
    key, secret = services.create_api_key(
        actor=analyst, workspace=workspace, name="Nightly", role=Role.ANALYST
    )
    stored = ApiKey.objects.values().get()
    assert secret not in str(stored)
    assert services.authenticate(secret) == (analyst, key)
    assert services.authenticate(secret + "x") is None
    assert services.authenticate("") is None


def test_key_never_reaches_above_its_person(workspace, analyst) -> None:
    with pytest.raises(Forbidden):
        services.create_api_key(actor=analyst, workspace=workspace, name="Big", role=Role.OWNER)
    key, secret = services.create_api_key(
        actor=analyst, workspace=workspace, name="Nightly", role=Role.ANALYST
    )
    membership = Membership.objects.get(user=analyst)
    membership.role = Role.VIEWER
    membership.save()
    assert services.key_role(key) == Role.VIEWER
    membership.delete()
    assert services.authenticate(secret) is None


def test_revoked_key_no_longer_works(workspace, viewer, owner, other_owner) -> None:
    key, secret = services.create_api_key(
        actor=viewer, workspace=workspace, name="Mine", role=Role.VIEWER
    )
    with pytest.raises(NotFound):
        services.revoke_api_key(actor=other_owner, key=key)
    services.revoke_api_key(actor=owner, key=key)
    assert services.authenticate(secret) is None
    assert AuditEvent.objects.filter(action="key.revoked", actor=owner).count() == 1


def test_use_of_a_key_is_noted_at_most_once_a_minute(
    workspace, viewer, django_assert_num_queries
) -> None:
    _, secret = services.create_api_key(
        actor=viewer, workspace=workspace, name="Mine", role=Role.VIEWER
    )
    services.authenticate(secret)
    first = ApiKey.objects.get().last_used_at
    assert first is not None
    with django_assert_num_queries(2):  # the key with its person, and the membership
        services.authenticate(secret)
    assert ApiKey.objects.get().last_used_at == first
    ApiKey.objects.update(last_used_at=timezone.now() - timedelta(minutes=2))
    services.authenticate(secret)
    assert ApiKey.objects.get().last_used_at > first


def test_invited_person_chooses_a_password_once(workspace, owner) -> None:
    membership, link = services.invite(
        actor=owner, workspace=workspace, email="new@example.org", role=Role.VIEWER
    )
    uid, token = link.strip("/").split("/")[-2:]
    user = services.accept_invitation(uid=uid, token=token, name="New", password="long password 1")
    assert user == membership.user
    assert user.check_password("long password 1")
    with pytest.raises(NotFound):
        services.accept_invitation(uid=uid, token=token, name="Thief", password="long password 2")


@pytest.mark.parametrize("uid", ["", "MQ", "%%%", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5"])
def test_invented_invitations_are_not_found(db, uid) -> None:
    with pytest.raises(NotFound):
        services.invited(uid, "x-y")


def test_a_second_workspace_never_gets_the_link_to_an_account(
    workspace, owner, other_workspace, other_owner
) -> None:
    services.invite(actor=owner, workspace=workspace, email="new@example.org", role=Role.VIEWER)
    _, link = services.invite(
        actor=other_owner, workspace=other_workspace, email="new@example.org", role=Role.VIEWER
    )
    assert link == ""


def test_inviting_is_for_owners_and_refuses_members(workspace, owner, analyst) -> None:
    with pytest.raises(Forbidden):
        services.invite(actor=analyst, workspace=workspace, email="x@y.org", role=Role.VIEWER)
    with pytest.raises(Conflict):
        services.invite(actor=owner, workspace=workspace, email=analyst.email, role=Role.VIEWER)


def test_the_last_owner_stays(workspace, owner, analyst) -> None:
    mine = Membership.objects.get(user=owner)
    with pytest.raises(Conflict):
        services.change_role(actor=owner, membership=mine, role=Role.VIEWER)
    with pytest.raises(Conflict):
        services.remove_member(actor=owner, membership=mine)
    theirs = Membership.objects.get(user=analyst)
    services.change_role(actor=owner, membership=theirs, role=Role.OWNER)
    services.change_role(actor=owner, membership=mine, role=Role.VIEWER)
    assert services.role_of(owner, workspace) == Role.VIEWER


def test_leaving_closes_the_keys(workspace, owner, analyst) -> None:
    _, secret = services.create_api_key(
        actor=analyst, workspace=workspace, name="Nightly", role=Role.VIEWER
    )
    services.remove_member(actor=owner, membership=Membership.objects.get(user=analyst))
    assert services.authenticate(secret) is None
    assert ApiKey.objects.get().revoked_at is not None
