"""The books of spending: which sums a call belongs to, and moving amounts between them.

A scope is ``analysis:<id>``, ``project:<id>`` or ``workspace:<id>``. Days and months are UTC.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from providers.models import Period

Book = tuple[str, str]
"""Scope and key of one row of :class:`providers.models.SpendBook`."""

PERIODS: dict[str, tuple[str, ...]] = {
    "analysis": (Period.ALL,),
    "project": (Period.DAY, Period.MONTH),
    "workspace": (Period.DAY, Period.MONTH),
}
"""The periods in which each sort of scope is counted, and may be limited."""


def period_key(period: str, now: datetime) -> str:
    """The key of the period in which ``now`` (UTC) lies: ``all``, ``2026-11``, ``2026-11-20``."""
    if period == Period.ALL:
        return "all"
    return now.strftime("%Y-%m-%d" if period == Period.DAY else "%Y-%m")


def scopes_of(workspace: int, project: int | None, analysis: int | None) -> list[str]:
    """The scopes a call counts in, narrowest first."""
    scopes = [] if analysis is None else [f"analysis:{analysis}"]
    if project is not None:
        scopes.append(f"project:{project}")
    return [*scopes, f"workspace:{workspace}"]


def books_of(scopes: Iterable[str], now: datetime) -> list[Book]:
    """The books a call made at ``now`` (UTC) counts in."""
    return [
        (scope, period_key(period, now))
        for scope in scopes
        for period in PERIODS[scope.partition(":")[0]]
    ]
