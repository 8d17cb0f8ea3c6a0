"""Providers and the journal of calls, for operators. Keys and answers are not shown."""

from __future__ import annotations

from django.contrib import admin
from unfold.admin import TabularInline

from core.admin import ReadOnlyAdmin
from providers.models import (
    CacheDay,
    DeploymentHealth,
    HealthChange,
    HealthSlot,
    LlmAttempt,
    LlmCall,
    Member,
    ModelDeployment,
    ModelPrice,
    Provider,
    ProviderBatch,
    Route,
    RouteTarget,
    SemanticEntry,
    SpendBook,
    SpendLimit,
    UseBook,
    UseLimit,
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


@admin.register(ProviderBatch)
class ProviderBatchAdmin(ReadOnlyAdmin):
    """Batches at providers, newest first. Answers are not shown."""

    list_display = [
        "uid",
        "deployment",
        "state",
        "remote_state",
        "size",
        "collected",
        "missing",
        "created_at",
        "expires_at",
        "ended_at",
    ]
    list_filter = ["state"]
    list_select_related = ["deployment__provider"]
    search_fields = ["remote_id", "deployment__model", "deployment__provider__name"]
    ordering = ["-id"]


@admin.register(DeploymentHealth)
class DeploymentHealthAdmin(ReadOnlyAdmin):
    """The breakers that all processes share."""

    list_display = ["deployment", "state", "reason", "opens", "retry_at", "probe_until", "version"]
    list_filter = ["state", "reason"]
    list_select_related = ["deployment__provider"]
    search_fields = ["deployment__model", "deployment__provider__name"]


@admin.register(HealthChange)
class HealthChangeAdmin(ReadOnlyAdmin):
    """What happened to models, newest first."""

    list_display = [
        "created_at",
        "deployment",
        "state",
        "reason",
        "went_to",
        "switch_ms",
        "analysis_id",
    ]
    list_filter = ["state", "reason"]
    list_select_related = ["deployment__provider"]
    search_fields = ["deployment__model", "deployment__provider__name", "detail"]
    ordering = ["-id"]


@admin.register(HealthSlot)
class HealthSlotAdmin(ReadOnlyAdmin):
    """What each process saw of each model, five minutes a row."""

    list_display = ["start", "deployment", "owner", "answered", "slow", "failed", "recovered"]
    list_select_related = ["deployment__provider"]
    search_fields = ["owner", "deployment__model"]
    ordering = ["-id"]


@admin.register(Member)
class MemberAdmin(ReadOnlyAdmin):
    """Processes that call a model now, and what they allow themselves."""

    list_display = ["owner", "deployment", "in_flight", "wanted", "limit", "tokens_left", "seen_at"]
    list_select_related = ["deployment__provider"]
    search_fields = ["owner", "deployment__model"]


@admin.register(ModelPrice)
class ModelPriceAdmin(ReadOnlyAdmin):
    """Prices that owners entered, with when they begin."""

    list_display = ["deployment", "effective_from", "price_in", "price_out", "created_by"]
    list_select_related = ["deployment__provider", "created_by"]
    search_fields = ["deployment__model", "deployment__provider__name"]


class TargetInline(TabularInline):  # type: ignore[misc]
    """The models of a route, in order."""

    model = RouteTarget
    extra = 0


@admin.register(Route)
class RouteAdmin(ReadOnlyAdmin):
    """Which models answer what, and how stored answers are used again."""

    list_display = [
        "workspace",
        "purpose",
        "strategy",
        "semantic",
        "cache_days",
        "shadow_compared",
        "shadow_agreed",
    ]
    list_filter = ["purpose", "strategy", "semantic"]
    list_select_related = ["workspace"]
    search_fields = ["workspace__name"]
    inlines = [TargetInline]


@admin.register(CacheDay)
class CacheDayAdmin(ReadOnlyAdmin):
    """How often stored answers served, by day and purpose."""

    list_display = ["day", "workspace", "purpose", "hits", "semantic_hits", "misses", "saved"]
    list_filter = ["purpose"]
    list_select_related = ["workspace"]
    ordering = ["-day", "-id"]


@admin.register(SemanticEntry)
class SemanticEntryAdmin(ReadOnlyAdmin):
    """Questions whose answers may serve nearly the same ones. Vectors are not shown."""

    list_display = ["pk", "workspace", "purpose", "project_id", "created_at"]
    list_filter = ["purpose"]
    list_select_related = ["workspace"]
    exclude = ["vector"]
    raw_id_fields = ["call"]
    ordering = ["-id"]


@admin.register(UseLimit)
class UseLimitAdmin(ReadOnlyAdmin):
    """Limits of use by person, API key and project."""

    list_display = ["scope", "workspace", "requests_per_minute", "tokens_per_day", "created_by"]
    list_select_related = ["workspace", "created_by"]
    search_fields = ["scope"]


@admin.register(UseBook)
class UseBookAdmin(ReadOnlyAdmin):
    """What those who have limits used, by minute and day (UTC)."""

    list_display = ["scope", "window", "requests", "tokens", "reserved", "workspace"]
    list_select_related = ["workspace"]
    search_fields = ["scope", "window"]
    ordering = ["-id"]
