"""People, workspaces and the record of changes, for operators."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.models import Group
from unfold.admin import ModelAdmin, TabularInline

from accounts.models import ApiKey, AuditEvent, Membership, User, Workspace
from core.admin import ReadOnlyAdmin

admin.site.unregister(Group)


class MembershipInline(TabularInline):  # type: ignore[misc]
    """Who belongs to a workspace; roles are changed on the Members page, which audits."""

    model = Membership
    extra = 0
    can_delete = False
    readonly_fields = ["user", "role", "created_at"]

    def has_add_permission(self, *_args: object) -> bool:
        """Never: people are invited on the Members page."""
        return False


@admin.register(User)
class UserAdmin(ModelAdmin):  # type: ignore[misc]
    """People. Operators may close an account or give another one the admin."""

    list_display = ["email", "name", "is_active", "is_staff", "joined_at", "last_login"]
    list_filter = ["is_active", "is_staff"]
    search_fields = ["email", "name"]
    ordering = ["email"]
    fields = ["email", "name", "is_active", "is_staff", "is_superuser", "joined_at", "last_login"]
    readonly_fields = ["email", "joined_at", "last_login"]

    def has_add_permission(self, *_args: object) -> bool:
        """Never: people are invited on the Members page."""
        return False


@admin.register(Workspace)
class WorkspaceAdmin(ReadOnlyAdmin):
    """The borders of isolation."""

    list_display = ["name", "uid", "created_at"]
    search_fields = ["name"]
    inlines = [MembershipInline]


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    """Keys for programs, by their first letters; the keys themselves are not kept."""

    list_display = ["name", "prefix", "user", "workspace", "role", "last_used_at", "revoked_at"]
    list_filter = ["role", ("revoked_at", admin.EmptyFieldListFilter)]
    list_select_related = ["user", "workspace"]
    search_fields = ["name", "prefix", "user__email"]
    exclude = ["digest"]


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    """Who did what, newest first."""

    list_display = ["created_at", "action", "actor", "workspace", "object_type", "object_id"]
    list_filter = ["action", "workspace"]
    list_select_related = ["actor", "workspace"]
    search_fields = ["action", "actor__email", "object_type", "object_id"]
    date_hierarchy = "created_at"
