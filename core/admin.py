"""Operators' pages. What the product writes is for reading here; services change it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from core.models import Beat, Event


class ReadOnlyAdmin(ModelAdmin):  # type: ignore[misc]
    """Searchable and viewable; nothing is added, changed or deleted here."""

    list_per_page = 50
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never: rows are made by services, which check and audit."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    """What changed, newest first."""

    list_display = ["id", "topic", "seq", "kind", "created_at"]
    list_filter = ["kind"]
    list_select_related = ["topic"]
    search_fields = ["topic__name", "kind"]
    ordering = ["-id"]


@admin.register(Beat)
class BeatAdmin(ReadOnlyAdmin):
    """When each part of the system was last seen at work."""

    list_display = ["name", "beat_at"]
    ordering = ["-beat_at"]
