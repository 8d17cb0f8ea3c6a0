"""Projects and data sets, for operators. Conversations are left out on purpose: they are private."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import TabularInline

from accounts.selectors import person
from core.admin import ReadOnlyAdmin
from core.errors import AppError
from projects.models import (
    Dataset,
    Import,
    ImportProblem,
    ItemState,
    Job,
    JobItem,
    Project,
    ProjectMember,
)
from projects.services.jobs import cancel_job


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


class JobItemInline(TabularInline):  # type: ignore[misc]
    """Items that failed."""

    model = JobItem
    extra = 0
    max_num = 50
    fields = ["label", "state", "error"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[JobItem]:
        """Only failures: a job may have a hundred thousand items."""
        rows: QuerySet[JobItem] = super().get_queryset(request)
        return rows.filter(state=ItemState.FAILED)


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    """Long work, with lease, attempt and error. Stopping goes through the service."""

    list_display = [
        "title",
        "project",
        "kind",
        "status",
        "total",
        "done",
        "failed",
        "attempt",
        "owner",
        "lease_until",
    ]
    list_filter = ["status", "kind"]
    list_select_related = ["project"]
    search_fields = ["title", "project__name"]
    inlines = [JobItemInline]
    actions = ["stop"]

    @admin.action(description="Stop what is at work")
    def stop(self, request: HttpRequest, rows: QuerySet[Job]) -> None:
        """Stop the chosen jobs as their operator; what cannot be stopped is said."""
        for job in rows.select_related("project__workspace"):
            try:
                cancel_job(actor=person(request), job=job)
            except AppError as error:
                self.message_user(request, f"{job}: {error.text}", level="warning")


@admin.register(JobItem)
class JobItemAdmin(ReadOnlyAdmin):
    """What became of each item."""

    list_display = ["id", "job", "label", "state", "error"]
    list_filter = ["state"]
    list_select_related = ["job"]
    search_fields = ["label", "job__title"]
