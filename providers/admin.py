"""Providers and the journal of calls, for operators. Keys and answers are not shown."""

from __future__ import annotations

from django.contrib import admin
from unfold.admin import TabularInline

from core.admin import ReadOnlyAdmin
from providers.models import (
    LlmAttempt,
    LlmCall,
    ModelDeployment,
    Provider,
    SpendBook,
    SpendLimit,
)


class DeploymentInline(TabularInline):  # type: ignore[misc]
    """The provider's models with their prices."""

    model = ModelDeployment
    extra = 0


class AttemptInline(TabularInline):  # type: ignore[misc]
    """Tries of a call that did not succeed."""

    model = LlmAttempt
    extra = 0


@admin.register(Provider)
class ProviderAdmin(ReadOnlyAdmin):
    """Endpoints that models are called at."""

    list_display = ["name", "workspace", "kind", "base_url", "enabled", "reconciles", "check_ok"]
    list_filter = ["kind", "enabled", "check_ok"]
    list_select_related = ["workspace"]
    search_fields = ["name", "base_url", "workspace__name"]
    exclude = ["key_encrypted", "spare_key_encrypted", "proxy_encrypted", "extra_headers"]
    inlines = [DeploymentInline]


@admin.register(LlmCall)
class LlmCallAdmin(ReadOnlyAdmin):
    """The journal of calls, newest first."""

    list_display = [
        "sent_at",
        "purpose",
        "provider",
        "model",
        "state",
        "tokens_in",
        "tokens_out",
        "cost",
        "latency_ms",
        "sends",
        "analysis_id",
    ]
    list_filter = ["state", "purpose", "provider", "error_class"]
    search_fields = ["fingerprint", "model", "provider", "=analysis_id"]
    ordering = ["-id"]
    exclude = ["response"]
    inlines = [AttemptInline]


@admin.register(SpendLimit)
class SpendLimitAdmin(ReadOnlyAdmin):
    """The most that may be spent, by scope and period."""

    list_display = ["scope", "period", "amount", "warned_for", "workspace", "created_by"]
    list_filter = ["period"]
    list_select_related = ["workspace", "created_by"]
    search_fields = ["scope"]


@admin.register(SpendBook)
class SpendBookAdmin(ReadOnlyAdmin):
    """Running sums by scope and period."""

    list_display = ["scope", "key", "spent", "doubt", "reserved"]
    search_fields = ["scope", "key"]
    ordering = ["-id"]
