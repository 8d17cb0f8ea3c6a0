"""Analyses for operators: states, leases, errors and clusters; no conversation text."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import TabularInline

from analyses.models import (
    AnalysisItem,
    AnalysisSession,
    Artifact,
    Batch,
    Cluster,
    Insight,
    StageProgress,
)
from core.admin import ReadOnlyAdmin


class StageInline(TabularInline):  # type: ignore[misc]
    """How far each stage is."""

    model = StageProgress
    extra = 0
    can_delete = False
    fields = ["key", "opened", "items_done", "items_total", "started_at", "finished_at"]
    readonly_fields = fields


class ArtifactInline(TabularInline):  # type: ignore[misc]
    """The files of bulk numbers."""

    model = Artifact
    extra = 0
    can_delete = False
    fields = ["kind", "path", "rows", "created_at"]
    readonly_fields = fields


@admin.register(AnalysisSession)
class AnalysisSessionAdmin(ReadOnlyAdmin):
    """Analyses, newest first."""

    list_display = ["name", "project", "number", "status", "reason", "read_count", "total", "cost"]
    list_filter = ["status", "desired"]
    list_select_related = ["project"]
    search_fields = ["name", "project__name", "uid"]
    inlines = [StageInline, ArtifactInline]


@admin.register(Batch)
class BatchAdmin(ReadOnlyAdmin):
    """Leased work: who holds it until when, and what went wrong."""

    list_display = [
        "id",
        "session",
        "stage",
        "seq",
        "status",
        "attempt",
        "fence",
        "owner",
        "lease_until",
        "finished_at",
    ]
    list_filter = ["status", "stage", "retried"]
    list_select_related = ["session"]
    search_fields = ["session__name", "owner", "error"]
    ordering = ["-id"]


@admin.register(AnalysisItem)
class AnalysisItemAdmin(ReadOnlyAdmin):
    """Conversations by outcome, with their errors but without their words."""

    list_display = ["id", "session", "position", "outcome", "error_class", "tokens", "language"]
    list_filter = ["outcome", "error_class"]
    list_select_related = ["session"]
    search_fields = ["session__name", "error_class"]
    fields = ["session", "position", "outcome", "error_class", "error", "tokens", "model"]
    ordering = ["-id"]


@admin.register(Cluster)
class ClusterAdmin(ReadOnlyAdmin):
    """Clusters that may be shown; withheld ones stay withheld here as well."""

    list_display = ["name", "session", "level", "size", "users", "provisional", "privacy_score"]
    list_filter = ["provisional", "level"]
    list_select_related = ["session"]
    search_fields = ["name", "session__name"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Cluster]:
        """Only groups that passed the privacy check."""
        rows: QuerySet[Cluster] = super().get_queryset(request)
        return rows.filter(shown=True)


@admin.register(Insight)
class InsightAdmin(ReadOnlyAdmin):
    """What was found worth a look."""

    list_display = ["title", "session", "rank", "kind", "count", "score"]
    list_filter = ["kind"]
    list_select_related = ["session"]
    search_fields = ["title", "session__name"]
