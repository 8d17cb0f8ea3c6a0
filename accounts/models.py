"""People, the workspaces they share, what they may do there, and what they did."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models
from django.db.models.functions import Lower
from typing_extensions import override

from core.ids import uuid7


class Role(models.TextChoices):
    """What a person may do in a workspace, each including the ones before it."""

    VIEWER = "viewer", "Viewer"
    ANALYST = "analyst", "Analyst"
    OWNER = "owner", "Owner"


class UserManager(BaseUserManager["User"]):
    """Creates people by e-mail address."""

    use_in_migrations = True

    def create_user(self, email: str, password: str | None = None, **extra: Any) -> User:
        """A person who signs in with ``email``; without a password sign-in is impossible."""
        user = self.model(email=self.normalize_email(email).lower(), **extra)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **extra: Any) -> User:
        """An operator with access to the admin."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **extra)


class User(AbstractBaseUser, PermissionsMixin):
    """A person. The e-mail address is the sign-in name."""

    uid = models.UUIDField(default=uuid7, unique=True, editable=False)
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=120, blank=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False, help_text="May open the operators' admin.")
    joined_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[UserManager] = UserManager()

    acting_key: ApiKey | None = None
    """The API key this request acts through; it narrows what the person may see and do."""

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="accounts_user_email_ci")]

    @override
    def __str__(self) -> str:
        return self.name or self.email

    @property
    def initials(self) -> str:
        """Up to two letters for the avatar."""
        words = (self.name or self.email).replace("@", " ").split()
        return "".join(word[0] for word in words[:2]).upper()


class Workspace(models.Model):
    """The border of isolation: nothing is ever visible across it."""

    uid = models.UUIDField(default=uuid7, unique=True, editable=False)
    name = models.CharField(max_length=120)
    created_at = models.DateTimeField(auto_now_add=True)

    @override
    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A person's role in a workspace."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.VIEWER)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "user"], name="accounts_membership_once"),
            models.CheckConstraint(
                condition=models.Q(role__in=Role.values), name="accounts_membership_role_known"
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.user} · {self.get_role_display()}"


class ApiKey(models.Model):
    """A key for programs. Only its hash is kept; it acts as its user, never above its role."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="api_keys")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=80)
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.VIEWER)
    prefix = models.CharField(max_length=12)
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    @override
    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class AuditEvent(models.Model):
    """Who did what to what, and when. Rows are only ever added."""

    workspace = models.ForeignKey(
        Workspace, on_delete=models.CASCADE, related_name="audit_events", null=True, blank=True
    )
    actor = models.ForeignKey(
        User, on_delete=models.SET_NULL, related_name="audit_events", null=True, blank=True
    )
    action = models.CharField(max_length=60, db_index=True)
    object_type = models.CharField(max_length=60, blank=True)
    object_id = models.CharField(max_length=60, blank=True)
    data = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        ordering = ["-id"]

    @override
    def __str__(self) -> str:
        return f"{self.action} {self.object_type} {self.object_id}".strip()


class SetupToken(models.Model):
    """The one-time token behind the first owner's link; only its hash is kept."""

    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    used_at = models.DateTimeField(null=True, blank=True)

    @override
    def __str__(self) -> str:
        return "used" if self.used_at else "open"
