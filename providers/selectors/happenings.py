"""What happened to models and keys, and how fast work moved on, ready for pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import AuditEvent, Workspace
from core.figures import duration
from providers.gateway.errors import ErrorClass
from providers.gateway.health import BY_HAND
from providers.models import BreakerState, HealthChange, Provider

WEEK = timedelta(days=7)


@dataclass(frozen=True)
class ChangeRow:
    """Something that happened. ``text`` and ``note`` are sentences; ``tone`` is ``good``,
    ``warning`` or ``plain``. ``analysis_id`` names the analysis whose call met it."""

    at: datetime
    text: str
    note: str
    tone: str
    provider: str
    analysis_id: int | None = None


@dataclass(frozen=True)
class SwitchFigures:
    """How long calls took to go on to another model: the last time, the slowest of seven days (in
    seconds, ``None`` when there was none), and how often in seven days."""

    last: float | None
    slowest: float | None
    count: int


def _changes(workspace: Workspace) -> QuerySet[HealthChange]:
    return HealthChange.objects.filter(deployment__provider__workspace=workspace)


def switch_figures(workspace: Workspace) -> SwitchFigures:
    """How fast work moved to another model. One query."""
    since = timezone.now() - WEEK
    times: list[int | None] = list(
        _changes(workspace)
        .filter(created_at__gte=since, switch_ms__isnull=False)
        .order_by("-created_at")
        .values_list("switch_ms", flat=True)
    )
    if not times:
        return SwitchFigures(None, None, 0)
    taken = [ms / 1000 for ms in times if ms is not None]
    return SwitchFigures(taken[0], max(taken), len(taken))


KEY_REPLACED = "provider.key_replaced"
"""The audit action that tells of a new key."""


def recent_changes(
    workspace: Workspace, limit: int = 20, before: datetime | None = None
) -> list[ChangeRow]:
    """What happened to the workspace's models and keys, newest first, at most ``limit`` of those
    before a moment. At most three queries."""
    changes = _changes(workspace).select_related("deployment__provider").order_by("-created_at")
    keys = AuditEvent.objects.filter(workspace=workspace, action=KEY_REPLACED)
    keys = keys.select_related("actor").order_by("-created_at")
    if before is not None:
        changes, keys = changes.filter(created_at__lt=before), keys.filter(created_at__lt=before)
    rows = [_change_row(one) for one in changes[:limit]] + _key_rows(list(keys[:limit]))
    return sorted(rows, key=lambda row: row.at, reverse=True)[:limit]


_OPENED: Mapping[str, str] = {
    ErrorClass.NETWORK: "{name} could not be reached.",
    ErrorClass.TIMEOUT: "{name} stopped answering in time.",
    ErrorClass.SERVER: "{name} reported faults.",
    ErrorClass.RATE_LIMIT: "{name} refused calls: too many at once.",
    ErrorClass.QUOTA: "{name} has no quota or credit left.",
    ErrorClass.AUTH: "{name} refused the API key.",
    ErrorClass.PERMISSION: "{name} does not let the API key use {model}.",
    ErrorClass.NOT_FOUND: "{name} does not know {model}.",
    ErrorClass.BAD_REQUEST: "{name} refused most requests.",
}


def _change_row(change: HealthChange) -> ChangeRow:
    provider, model = change.deployment.provider.name, change.deployment.model
    notes = [change.detail[:1].upper() + change.detail[1:]] if change.detail else []
    if change.went_to:
        took = f" in {duration(change.switch_ms / 1000)}" if change.switch_ms is not None else ""
        notes.append(f"Work moved to {change.went_to}{took}")
    text, tone = _change_text(change, provider, model)
    note = " ".join(f"{one.rstrip('.')}." for one in notes)
    return ChangeRow(change.created_at, text, note, tone, provider, change.analysis_id)


def _change_text(change: HealthChange, provider: str, model: str) -> tuple[str, str]:
    name = f"{provider} ({model})"
    if change.state == BreakerState.RESTED:
        return f"{name} was taken out of use by hand.", "plain"
    if change.state == BreakerState.CLOSED:
        by_hand = change.reason == BY_HAND
        return f"{name} {'was returned to use by hand' if by_hand else 'answers again'}.", "good"
    if change.state == BreakerState.HALF_OPEN:
        return f"{name} is being tried.", "plain"
    text = _OPENED.get(change.reason, "{name} failed too often.")
    return text.format(name=name, model=model), "warning"


def _key_rows(events: Sequence[AuditEvent]) -> list[ChangeRow]:
    ids = {int(one.object_id) for one in events if one.object_id.isdecimal()}
    names = dict(Provider.objects.filter(pk__in=ids).values_list("pk", "name")) if ids else {}
    return [_key_row(one, names) for one in events]


def _key_row(event: AuditEvent, names: Mapping[int, str]) -> ChangeRow:
    who = (event.actor.name or event.actor.email) if event.actor else "Somebody"
    name = names.get(int(event.object_id), "") if event.object_id.isdecimal() else ""
    provider = name or "a provider that was removed"
    return ChangeRow(event.created_at, f"{who} replaced the key of {provider}.", "", "plain", name)
