"""Changes to people, roles and keys, and the checks every other service begins with."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.tokens import default_token_generator
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.encoding import force_bytes, force_str
from django.utils.http import urlsafe_base64_decode, urlsafe_base64_encode
from django.utils.module_loading import import_string

from accounts.models import ApiKey, AuditEvent, Membership, Role, SetupToken, User, Workspace
from core.errors import Conflict, Forbidden, Invalid, NotFound

RANK = {role: rank for rank, role in enumerate(Role)}
KEY_MARK = "oc_"
KEY_BYTES = 32  # 256 bits: guessing is hopeless, so a plain hash of the key is enough
USED_AT_STEP = timedelta(minutes=1)
FIRST_WORKSPACE = "My workspace"


def role_of(user: User, workspace: Workspace) -> Role | None:
    """The person's role in the workspace, ``None`` for strangers and closed accounts.

    A person acting through an API key has at most the key's role, in the key's workspace alone.
    """
    if not user.is_active:
        return None
    key = user.acting_key
    if key is not None and key.workspace_id != workspace.pk:
        return None
    found = Membership.objects.filter(user=user, workspace=workspace).values_list("role", flat=True)
    role = found.first()
    if role is None:
        return None
    limits = [Role(role), Role(key.role)] if key is not None else [Role(role)]
    return min(limits, key=RANK.__getitem__)


def reaches(role: Role | None, needed: Role) -> bool:
    """Whether ``role`` includes everything that ``needed`` may do."""
    return role is not None and RANK[role] >= RANK[needed]


def require(user: User, workspace: Workspace, needed: Role) -> Role:
    """The person's role, if it reaches ``needed``.

    Raises :class:`NotFound` for strangers, so that they cannot learn what exists, and
    :class:`Forbidden` for members whose role is too low.
    """
    role = role_of(user, workspace)
    if role is None:
        raise NotFound
    if not reaches(role, needed):
        raise Forbidden
    return role


def audit(
    *,
    workspace: Workspace | None,
    actor: User | None,
    action: str,
    obj: models.Model | None = None,
    **data: Any,
) -> AuditEvent:
    """Write down who did what. Call it inside the transaction of the change itself."""
    return AuditEvent.objects.create(
        workspace=workspace,
        actor=actor,
        action=action,
        object_type=obj._meta.label_lower if obj is not None else "",
        object_id=str(obj.pk) if obj is not None else "",
        data=data,
    )


def digest(secret: str) -> str:
    """What is stored instead of a random secret: SHA-256, hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()


def ensure_workspace() -> Workspace:
    """The first workspace, made when there is none."""
    found = Workspace.objects.order_by("id").first()
    return found or Workspace.objects.create(name=FIRST_WORKSPACE)


# --- The first owner ----------------------------------------------------------------------------


def first_owner_link() -> str | None:
    """A fresh one-time path that makes its visitor the first owner; ``None`` once there is one.

    Only the hash of the token is kept, so an older link cannot be shown again and stops working.
    """
    with transaction.atomic():
        ensure_workspace()
        if Membership.objects.filter(role=Role.OWNER).exists():
            return None
        SetupToken.objects.filter(used_at=None).delete()
        token = secrets.token_urlsafe(24)
        SetupToken.objects.create(digest=digest(token))
    return reverse("accounts:welcome", args=[token])


def open_setup_token(token: str) -> SetupToken:
    """The unused token, locked; raises :class:`NotFound` if it is wrong, used or too late."""
    if Membership.objects.filter(role=Role.OWNER).exists():
        raise NotFound
    found = (
        SetupToken.objects.select_for_update().filter(digest=digest(token), used_at=None).first()
    )
    if found is None:
        raise NotFound
    return found


@transaction.atomic
def check_first_owner_link(token: str) -> None:
    """Raises :class:`NotFound` unless the link can still be used."""
    open_setup_token(token)


@transaction.atomic
def claim_first_owner(*, token: str, name: str, email: str, password: str) -> User:
    """Use the link: create the first owner. Raises :class:`NotFound` or :class:`Invalid`."""
    opened = open_setup_token(token)
    refuse_known_email(email)
    workspace = ensure_workspace()
    user = User.objects.create_user(email, password, name=name, is_staff=True, is_superuser=True)
    Membership.objects.create(workspace=workspace, user=user, role=Role.OWNER)
    opened.used_at = timezone.now()
    opened.save(update_fields=["used_at"])
    audit(workspace=workspace, actor=user, action="owner.claimed", obj=user)
    return user


def begin(owner: User) -> str | None:
    """What follows the first owner's arrival (``AFTER_FIRST_OWNER``); where to go, if anywhere."""
    following: str | None = import_string(settings.AFTER_FIRST_OWNER)(owner)
    return following


def refuse_known_email(email: str) -> None:
    """Raises :class:`Invalid` if somebody already signs in with this address."""
    if User.objects.filter(email__iexact=email).exists():
        raise Invalid(fields={"email": "Somebody already signs in with this address."})


# --- Profile ------------------------------------------------------------------------------------


@transaction.atomic
def update_profile(*, actor: User, name: str) -> User:
    """Change the person's own name."""
    actor.name = name.strip()
    actor.save(update_fields=["name"])
    audit(workspace=None, actor=actor, action="profile.changed", obj=actor)
    return actor


# --- Keys for programs --------------------------------------------------------------------------


@transaction.atomic
def create_api_key(
    *, actor: User, workspace: Workspace, name: str, role: Role
) -> tuple[ApiKey, str]:
    """A new key and its secret, which is never shown again.

    Raises :class:`Forbidden` when the key would reach further than the person does.
    """
    require(actor, workspace, role)
    secret = KEY_MARK + secrets.token_urlsafe(KEY_BYTES)
    key = ApiKey.objects.create(
        workspace=workspace,
        user=actor,
        name=name.strip(),
        role=role,
        prefix=secret[: len(KEY_MARK) + 6],
        digest=digest(secret),
    )
    audit(workspace=workspace, actor=actor, action="key.created", obj=key, name=key.name)
    return key, secret


@transaction.atomic
def revoke_api_key(*, actor: User, key: ApiKey) -> None:
    """Close a key for good. Its person may, and so may an owner of the workspace."""
    if key.user_id != actor.pk:
        require(actor, key.workspace, Role.OWNER)
    changed = ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now())
    if changed:
        audit(workspace=key.workspace, actor=actor, action="key.revoked", obj=key, name=key.name)


def authenticate(secret: str) -> tuple[User, ApiKey] | None:
    """The person and the key behind a secret, ``None`` if it is wrong, closed or orphaned.

    The look-up is by hash, so its time says nothing about the secret; the comparison takes the
    same time whatever is stored.
    """
    wanted = digest(secret)
    key = ApiKey.objects.select_related("user", "workspace").filter(digest=wanted).first()
    if key is None or not hmac.compare_digest(key.digest, wanted) or key.revoked_at is not None:
        return None
    if key_role(key) is None:
        return None
    now = timezone.now()
    if key.last_used_at is None or now - key.last_used_at > USED_AT_STEP:
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)
    return key.user, key


def key_role(key: ApiKey) -> Role | None:
    """What the key may do now: its own role, or its person's if that has become lower."""
    role = role_of(key.user, key.workspace)
    if role is None:
        return None
    return min(role, Role(key.role), key=RANK.__getitem__)


# --- Members ------------------------------------------------------------------------------------


@transaction.atomic
def invite(*, actor: User, workspace: Workspace, email: str, role: Role) -> tuple[Membership, str]:
    """Add a person, and the one-time path where a new one chooses a password (else empty).

    Raises :class:`Conflict` if the person is a member already.
    """
    require(actor, workspace, Role.OWNER)
    user = User.objects.filter(email__iexact=email).first() or User.objects.create_user(email)
    membership, created = Membership.objects.get_or_create(
        workspace=workspace, user=user, defaults={"role": role}
    )
    if not created:
        raise Conflict(why=f"{user.email} is a member already.")
    audit(workspace=workspace, actor=actor, action="member.added", obj=user, role=role)
    # Whoever holds the link holds the account, so it is never given to a second workspace.
    elsewhere = Membership.objects.filter(user=user).exclude(workspace=workspace).exists()
    known = user.has_usable_password() or elsewhere
    return membership, "" if known else invitation_link(user)


def invitation_link(user: User) -> str:
    """The path where an invited person chooses a password; it dies with its first use."""
    uid = urlsafe_base64_encode(force_bytes(user.pk))
    return reverse("accounts:invitation", args=[uid, default_token_generator.make_token(user)])


def invited(uid: str, token: str) -> User:
    """The person behind an invitation; raises :class:`NotFound` if it is wrong or used."""
    try:
        user = User.objects.get(pk=int(force_str(urlsafe_base64_decode(uid))), is_active=True)
    except (ValueError, OverflowError, User.DoesNotExist, ValidationError) as error:
        raise NotFound from error
    if user.has_usable_password() or not default_token_generator.check_token(user, token):
        raise NotFound
    return user


@transaction.atomic
def accept_invitation(*, uid: str, token: str, name: str, password: str) -> User:
    """Set the name and the first password of an invited person."""
    user = invited(uid, token)
    user.name = name.strip()
    user.set_password(password)
    user.save(update_fields=["name", "password"])
    audit(workspace=None, actor=user, action="member.joined", obj=user)
    return user


@transaction.atomic
def change_role(*, actor: User, membership: Membership, role: Role) -> None:
    """Give a member another role. The last owner stays one."""
    require(actor, membership.workspace, Role.OWNER)
    if role != Role.OWNER:
        keep_an_owner(membership)
    membership.role = role
    membership.save(update_fields=["role"])
    audit(
        workspace=membership.workspace,
        actor=actor,
        action="member.role_changed",
        obj=membership.user,
        role=role,
    )


@transaction.atomic
def remove_member(*, actor: User, membership: Membership) -> None:
    """Take a person out of the workspace and close their keys there."""
    require(actor, membership.workspace, Role.OWNER)
    keep_an_owner(membership)
    keys = ApiKey.objects.filter(
        workspace=membership.workspace, user=membership.user, revoked_at=None
    )
    keys.update(revoked_at=timezone.now())
    audit(
        workspace=membership.workspace,
        actor=actor,
        action="member.removed",
        obj=membership.user,
        role=membership.role,
    )
    membership.delete()


def keep_an_owner(membership: Membership) -> None:
    """Raises :class:`Conflict` if this member is the workspace's last owner."""
    owners = Membership.objects.select_for_update().filter(
        workspace=membership.workspace, role=Role.OWNER
    )
    if [row.pk for row in owners] == [membership.pk]:
        raise Conflict(why="A workspace needs an owner. Make somebody else an owner first.")
