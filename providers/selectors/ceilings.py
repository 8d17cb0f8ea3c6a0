"""The limits that hold now and how much of them is used, for the card of the providers page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Sum
from django.utils import timezone

from accounts.models import Workspace
from core.figures import money
from providers.models import HealthSlot, Period, Provider
from providers.selectors.limits import limit_states
from providers.selectors.spend import MonthSpend

SLOT = timedelta(minutes=5)
"""Processes count tokens in pieces of this length."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """One limit in words; ``percent`` (0 to 100) draws a bar, ``None`` draws none."""

    label: str
    text: str
    percent: int | None = None
    tone: str = ""


def ceilings(workspace: Workspace, month: MonthSpend) -> list[Ceiling]:
    """The workspace's limits, what holds for an analysis, and providers' tokens a minute.

    Four queries.
    """
    return [
        _month(month),
        *_day(workspace),
        Ceiling("One analysis", "set when it starts"),
        *_minutes(workspace),
    ]


def _month(month: MonthSpend) -> Ceiling:
    if month.limit is None:
        return Ceiling("Workspace, each month", f"{money(month.used)}, no limit")
    text = f"{money(month.used)} of {money(month.limit)}"
    return Ceiling("Workspace, each month", text, month.percent, month.tone)


def _day(workspace: Workspace) -> list[Ceiling]:
    found = limit_states([f"workspace:{workspace.pk}"])
    return [
        Ceiling(
            "Workspace, each day",
            f"{money(state.used)} of {money(state.amount)}",
            min(100, round(state.share * 100)),
            _tone(state.share),
        )
        for state in found
        if state.period == Period.DAY
    ]


def _minutes(workspace: Workspace) -> list[Ceiling]:
    """Tokens a minute of the providers that have a limit of them, averaged over a slot."""
    rows = Provider.objects.filter(
        workspace=workspace, enabled=True, tokens_per_minute__isnull=False
    )
    limits = {row.pk: (row.name, row.tokens_per_minute or 0) for row in rows}
    if not limits:
        return []
    used = _used(list(limits))
    return [
        Ceiling(
            f"{name}, tokens a minute",
            f"{short(used.get(pk, 0.0))} of {short(most)}",
            min(100, round(100 * used.get(pk, 0.0) / most)) if most else 100,
            _tone(used.get(pk, 0.0) / most if most else 1.0),
        )
        for pk, (name, most) in limits.items()
    ]


def _used(pks: list[int]) -> dict[int, float]:
    """Tokens a minute by provider since the newest slot began."""
    now = timezone.now()
    slots = HealthSlot.objects.filter(deployment__provider__in=pks, start__gt=now - SLOT)
    sums = slots.order_by().values("deployment__provider", "start").annotate(tokens=Sum("tokens"))
    found: dict[int, float] = {}
    for row in sums:
        minutes = max(1.0, (now - row["start"]).total_seconds() / 60)
        pk = row["deployment__provider"]
        found[pk] = found.get(pk, 0.0) + row["tokens"] / minutes
    return found


def _tone(share: float) -> str:
    """The colour of a bar, by the share of the limit that is used."""
    if share >= 1:
        return "bad"
    return "warn" if share >= WARN_FROM else ""


WARN_FROM = 0.75


def short(number: float) -> str:
    """A large number in few letters: "312 k", "41.2 M"."""
    if number >= 999_500:
        return f"{number / 1e6:.1f} M"
    return f"{number / 1e3:.0f} k" if number >= 9_950 else f"{number:,.0f}"
