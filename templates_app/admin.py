"""Templates and their versions, for operators."""

from __future__ import annotations

from django.contrib import admin
from unfold.admin import TabularInline

from core.admin import ReadOnlyAdmin
from templates_app.models import AnalysisTemplate, FacetDefinition, TemplateVersion


class VersionInline(TabularInline):  # type: ignore[misc]
    """The versions of a template."""

    model = TemplateVersion
    extra = 0
    show_change_link = True


class FacetInline(TabularInline):  # type: ignore[misc]
    """The questions of a version."""

    model = FacetDefinition
    extra = 0


@admin.register(AnalysisTemplate)
class AnalysisTemplateAdmin(ReadOnlyAdmin):
    """Named sets of facets; those without a workspace are shipped."""

    list_display = ["name", "key", "workspace", "project", "created_at"]
    list_filter = [("workspace", admin.EmptyFieldListFilter)]
    list_select_related = ["workspace", "project"]
    search_fields = ["name", "key"]
    inlines = [VersionInline]


@admin.register(TemplateVersion)
class TemplateVersionAdmin(ReadOnlyAdmin):
    """Immutable versions."""

    list_display = ["template", "number", "embed_facet", "created_at"]
    list_select_related = ["template"]
    search_fields = ["template__name", "template__key"]
    inlines = [FacetInline]
