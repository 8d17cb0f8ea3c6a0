"""Reads about stored answers: how many there are, how often they served, what that saved."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count, Max, Min, Sum
from django.utils import timezone

from accounts.models import Workspace
from providers.gateway.semantic import LEAST_COMPARED, proven
from providers.models import CacheDay, CallState, LlmCall, Purpose, Route, Semantic

DAYS = 30
"""Days that the page looks back."""


@dataclass(frozen=True)
class Served:
    """Answers used again in a purpose or project. ``saved`` is US dollars, at what they cost."""

    name: str
    hits: int
    near: int
    calls: int
    tokens: int
    saved: Decimal

    @property
    def rate(self) -> float:
        """Share of questions that were answered without a call, 0 to 1."""
        asked = self.hits + self.calls
        return self.hits / asked if asked else 0.0


@dataclass(frozen=True)
class Stock:
    """Stored answers of one model and prompt version, which may be forgotten together."""

    model: str
    prompt_version: str
    purpose: str
    count: int
    oldest: object
    newest: object


@dataclass(frozen=True)
class Watching:
    """How the semantic cache of a route does. ``proven``: it agreed often enough to answer."""

    purpose: str
    word: str
    mode: str
    compared: int
    agreed: int
    needed: int
    proven: bool

    @property
    def share(self) -> float:
        """Agreement so far, 0 to 1."""
        return self.agreed / self.compared if self.compared else 0.0


def served(workspace: Workspace, *, days: int = DAYS) -> list[Served]:
    """Answers used again by purpose, those of the newest days. Two queries."""
    since = timezone.now() - timedelta(days=days)
    calls = dict(
        LlmCall.objects.filter(workspace=workspace, sent_at__gte=since, sends__gt=0)
        .order_by()
        .values_list("purpose")
        .annotate(Count("pk"))
    )
    rows: dict[str, dict[str, Any]] = {
        row["purpose"]: dict(row)
        for row in CacheDay.objects.filter(workspace=workspace, day__gte=since.date())
        .order_by()
        .values("purpose")
        .annotate(
            served=Sum("hits"),
            near=Sum("semantic_hits"),
            tokens=Sum("tokens_saved"),
            money=Sum("saved"),
        )
    }
    words = dict(Purpose.choices)
    return [
        Served(
            str(words.get(name, name.capitalize())),
            row.get("served", 0),
            row.get("near", 0),
            calls.get(name, 0),
            row.get("tokens", 0),
            row.get("money", Decimal(0)),
        )
        for name, row in sorted((key, rows.get(key, {})) for key in {*calls, *rows})
    ]


def total(rows: list[Served]) -> Served:
    """The rows added up."""
    return Served(
        "In all",
        sum(row.hits for row in rows),
        sum(row.near for row in rows),
        sum(row.calls for row in rows),
        sum(row.tokens for row in rows),
        sum((row.saved for row in rows), Decimal(0)),
    )


def stock(workspace: Workspace, *, limit: int = 50) -> list[Stock]:
    """What is stored, the largest groups first. One query."""
    rows = (
        LlmCall.objects.filter(workspace=workspace, state=CallState.OK)
        .exclude(response="")
        .order_by()
        .values("model", "prompt_version", "purpose")
        .annotate(count=Count("pk"), oldest=Min("settled_at"), newest=Max("settled_at"))
        .order_by("-count", "model", "prompt_version")[:limit]
    )
    return [Stock(**row) for row in rows]


def watching(workspace: Workspace) -> list[Watching]:
    """Routes whose semantic cache watches or answers. One query."""
    rows = Route.objects.filter(workspace=workspace).exclude(semantic=Semantic.OFF)
    return [
        Watching(
            row.purpose,
            row.get_purpose_display(),
            row.semantic,
            row.shadow_compared,
            row.shadow_agreed,
            LEAST_COMPARED,
            proven(row.shadow_compared, row.shadow_agreed),
        )
        for row in rows
    ]
