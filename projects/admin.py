"""Projects and data sets, for operators. Conversations are left out on purpose: they are private."""

from __future__ import annotations

from django.contrib import admin
from unfold.admin import TabularInline

from core.admin import ReadOnlyAdmin
from projects.models import Dataset, Import, ImportProblem, Project, ProjectMember


class ProjectMemberInline(TabularInline):  # type: ignore[misc]
    """Roles in this project that differ from those in its workspace."""

    model = ProjectMember
    extra = 0


class ProblemInline(TabularInline):  # type: ignore[misc]
    """Places that could not be read, without the text found there."""

    model = ImportProblem
    extra = 0
    max_num = 50
    fields = ["line", "kind", "reason"]


@admin.register(Project)
class ProjectAdmin(ReadOnlyAdmin):
    """Places for data and analyses."""

    list_display = ["name", "slug", "workspace", "is_sample", "created_by", "created_at"]
    list_filter = ["workspace", "is_sample"]
    list_select_related = ["workspace", "created_by"]
    search_fields = ["name", "slug"]
    inlines = [ProjectMemberInline]


@admin.register(Dataset)
class DatasetAdmin(ReadOnlyAdmin):
    """Conversations uploaded together."""

    list_display = ["name", "project", "number", "status", "conversation_count", "created_at"]
    list_filter = ["status"]
    list_select_related = ["project"]
    search_fields = ["name", "project__name"]


@admin.register(Import)
class ImportAdmin(ReadOnlyAdmin):
    """Files on their way into a data set, with lease, attempt and error."""

    list_display = [
        "filename",
        "dataset",
        "status",
        "format",
        "accepted",
        "rejected",
        "attempt",
        "owner",
        "lease_until",
    ]
    list_filter = ["status", "format"]
    list_select_related = ["dataset"]
    search_fields = ["filename", "dataset__name", "sha256"]
    inlines = [ProblemInline]
