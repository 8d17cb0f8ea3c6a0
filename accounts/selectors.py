"""Reads about people, ready for pages."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.models import ApiKey, Membership, Role, User, Workspace
from core.errors import NotFound


def person(request: HttpRequest) -> User:
    """The signed-in person behind a request; raises :class:`NotFound` for everybody else."""
    if not isinstance(request.user, User):
        raise NotFound
    return request.user


def memberships(user: User) -> QuerySet[Membership]:
    """The person's workspaces with their roles, oldest first."""
    return Membership.objects.filter(user=user).select_related("workspace").order_by("id")


def current_membership(user: User) -> Membership | None:
    """The membership whose workspace the person looks at: the oldest one."""
    return memberships(user).first()


def current_workspace(user: User) -> Workspace:
    """The workspace the person looks at; raises :class:`NotFound` for members of none."""
    membership = current_membership(user)
    if membership is None:
        raise NotFound
    return membership.workspace


def has_owner() -> bool:
    """Whether anybody owns this installation yet. One query."""
    return Membership.objects.filter(role=Role.OWNER).exists()


def members(workspace: Workspace) -> list[Membership]:
    """Everybody in the workspace, owners first, then by name. One query."""
    rows = Membership.objects.filter(workspace=workspace).select_related("user")
    return sorted(rows, key=lambda row: (-Role.values.index(row.role), str(row.user).lower()))


def api_keys(user: User) -> QuerySet[ApiKey]:
    """The person's open keys, newest first."""
    return (
        ApiKey.objects.filter(user=user, revoked_at=None)
        .select_related("workspace")
        .order_by("-id")
    )


def api_workspace(user: User, uid: UUID | None = None) -> Workspace:
    """The workspace a program means: the named one, its key's, or the person's first.

    Raises :class:`NotFound` when the person does not belong to it.
    """
    key = user.acting_key
    if uid is None:
        return key.workspace if key is not None else current_workspace(user)
    found = Workspace.objects.filter(memberships__user=user, uid=uid).first()
    if found is None or (key is not None and key.workspace_id != found.pk):
        raise NotFound
    return found
