"""Where processes tell each other how models do: the health store in the database."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from django.db import close_old_connections, connection, transaction
from django.db.models import Count, Min, Sum
from django.db.models.functions import Now

from core.work import from_now, owner_name
from providers.gateway.health import Change, Health, Seen
from providers.models import HealthSlot, Member
from providers.services.health import Known, apply_change, known, take_right

SLOT_MINUTES = 5
"""Minutes whose answers and failures are counted in one row."""

FRESH = timedelta(seconds=10)
"""A process that was not heard of for so long no longer shares the limits."""

MOST_LEFT = 2**31 - 1
"""Nothing larger goes into the columns."""


@dataclass(slots=True)
class _Total:
    """What this store counted in one slot; its row holds the same."""

    start: datetime
    answered: int = 0
    slow: int = 0
    failed: int = 0
    recovered: int = 0
    tokens: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    latencies: list[int] = field(default_factory=list)

    def plus(self, seen: Seen) -> _Total:
        """With what was seen since."""
        errors, latencies = dict(self.errors), list(self.latencies)
        for name, number in seen.errors.items():
            errors[name] = errors.get(name, 0) + number
        latencies += [0] * (len(seen.latencies) - len(latencies))
        for place, number in enumerate(seen.latencies):
            latencies[place] += number
        return _Total(
            self.start,
            self.answered + seen.answered,
            self.slow + seen.slow,
            self.failed + seen.failed,
            self.recovered + seen.recovered,
            self.tokens + seen.tokens,
            errors,
            latencies,
        )


class DatabaseHealth:
    """A :class:`~providers.gateway.health.HealthStore` on the tables of ``models/health.py``.

    Every store writes rows of its own: a process may hold several gateways, each with its own
    share of the limits, so each is a member. An exchange is one transaction of four statements;
    a change adds its own. An error of the database is the caller's to bear: what it told counts
    as not told, and is told again.
    """

    def __init__(self) -> None:
        self._mark = secrets.token_hex(4)
        self._totals: dict[int, _Total] = {}

    def exchange(
        self, owner: str, seen: Sequence[Seen], changes: Sequence[Change]
    ) -> Mapping[str, Health]:
        """Take in what was seen and decided; the shared state of what is named there.

        Models that were deleted meanwhile are left out.
        """
        close_old_connections()
        wanted = {_number(one.deployment) for one in seen}
        wanted |= {_number(one.deployment) for one in changes}
        with transaction.atomic():
            rows = known(wanted)
            seen = [one for one in seen if _number(one.deployment) in rows]
            if seen:
                self._join(owner, seen)
            totals = self._count(owner, seen, rows)
            if self._decide(changes, rows):
                rows = known(wanted)
            found = _shared({pk: row.health for pk, row in rows.items()})
        self._totals.update(totals)
        return {str(pk): health for pk, health in found.items()}

    def take_probe(self, owner: str, deployment: str, seconds: float) -> Health | None:
        """The right to try a model whose rest is over, or whose last holder let it lapse."""
        close_old_connections()
        pk = _number(deployment)
        with transaction.atomic():
            if not take_right(self._name(owner), pk, seconds):
                return None
            row = known([pk]).get(pk)
        return row.health if row else None

    def close(self) -> None:
        """Leave the members and give back this thread's connection."""
        try:
            Member.objects.filter(owner__endswith=self._suffix).delete()
        finally:
            connection.close()

    @property
    def _suffix(self) -> str:
        return f"~{self._mark}"

    def _name(self, owner: str) -> str:
        return (owner or owner_name())[: 120 - len(self._suffix)] + self._suffix

    def _join(self, owner: str, seen: Sequence[Seen]) -> None:
        Member.objects.bulk_create(
            [
                Member(
                    deployment_id=_number(one.deployment),
                    owner=self._name(owner),
                    in_flight=one.in_flight,
                    wanted=one.wanted,
                    limit=one.limit,
                    requests_left=_left(one.requests_left),
                    tokens_left=_left(one.tokens_left),
                    seen_at=Now(),
                )
                for one in seen
            ],
            update_conflicts=True,
            unique_fields=["deployment", "owner"],
            update_fields=[
                "in_flight",
                "wanted",
                "limit",
                "requests_left",
                "tokens_left",
                "seen_at",
            ],
        )

    def _count(
        self, owner: str, seen: Sequence[Seen], rows: Mapping[int, Known]
    ) -> dict[int, _Total]:
        """Write this store's counts of the slot; they are kept here once that is committed."""
        totals: dict[int, _Total] = {}
        for one in seen:
            if not _has_news(one):
                continue
            pk = _number(one.deployment)
            start = _slot_of(rows[pk].now)
            before = totals.get(pk) or self._totals.get(pk)
            if before is None or before.start != start:
                before = _Total(start)
            totals[pk] = before.plus(one)
        if totals:
            self._write(self._name(owner), totals)
        return totals

    @staticmethod
    def _write(owner: str, totals: Mapping[int, _Total]) -> None:
        counted = ["answered", "slow", "failed", "recovered", "tokens", "errors", "latencies"]
        HealthSlot.objects.bulk_create(
            [
                HealthSlot(
                    deployment_id=pk,
                    start=total.start,
                    owner=owner,
                    **{name: getattr(total, name) for name in counted},
                )
                for pk, total in totals.items()
            ],
            update_conflicts=True,
            unique_fields=["deployment", "start", "owner"],
            update_fields=counted,
        )

    @staticmethod
    def _decide(changes: Sequence[Change], rows: Mapping[int, Known]) -> bool:
        """Apply the changes; whether there were any, in force or not."""
        decided = False
        for change in changes:
            pk = _number(change.deployment)
            if pk in rows:
                apply_change(pk, rows[pk].workspace, change, exists=rows[pk].exists)
                decided = True
        return decided


def _shared(states: Mapping[int, Health]) -> dict[int, Health]:
    """The states with how many live members there are, what they want, and what the provider
    said is left. One query."""
    fresh = Member.objects.filter(deployment__in=list(states), seen_at__gte=from_now(-FRESH))
    rows = (
        fresh.order_by()
        .values_list("deployment_id")
        .annotate(
            members=Count("pk"),
            wanting=Sum("wanted"),
            requests=Min("requests_left"),
            tokens=Min("tokens_left"),
        )
    )
    found = dict(states)
    for pk, members, wanting, requests, tokens in rows:
        found[pk] = replace(
            states[pk],
            members=members,
            wanted=wanting or 0,
            requests_left=requests,
            tokens_left=tokens,
        )
    return found


def _has_news(seen: Seen) -> bool:
    return bool(seen.answered or seen.failed or seen.errors or seen.tokens)


def _slot_of(moment: datetime) -> datetime:
    minute = moment.minute // SLOT_MINUTES * SLOT_MINUTES
    return moment.replace(minute=minute, second=0, microsecond=0)


def _left(value: int | None) -> int | None:
    return None if value is None else min(MOST_LEFT, max(0, value))


def _number(deployment: str) -> int:
    return int(deployment) if deployment.isascii() and deployment.isdecimal() else 0
