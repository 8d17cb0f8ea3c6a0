"""What calls cost this month (UTC): by day, provider, project and model, ready for pages."""

from __future__ import annotations

import calendar
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from accounts.models import Workspace
from core.figures import count_of, money, share
from providers.models import CallState, LlmAttempt, LlmCall, Period, SpendBook, SpendLimit
from providers.selectors.limits import period_key, places

NONE = Decimal(0)
ANSWERED_UNPRICED = Q(cost=None, state=CallState.OK)
SHORTEST = timedelta(days=1)
"""The least of a month from which its end is foretold; less says nothing about a day's rhythm."""


@dataclass(slots=True)
class Spent:
    """What some calls cost. ``cost`` is US dollars; ``unpriced`` answers are not in it."""

    calls: int = 0
    tokens: int = 0
    cost: Decimal = NONE
    unpriced: int = 0

    def add(self, other: Spent) -> None:
        """Count other calls too."""
        self.calls += other.calls
        self.tokens += other.tokens
        self.cost += other.cost
        self.unpriced += other.unpriced

    @property
    def known(self) -> Decimal | None:
        """The sum, ``None`` when no answer had a price."""
        return None if self.unpriced and not self.cost else self.cost

    @property
    def note(self) -> str:
        """What the sum leaves out, in words; empty when it is whole."""
        return f"{count_of(self.unpriced, 'call')} unpriced" if self.unpriced and self.cost else ""


@dataclass(frozen=True, slots=True)
class SpendRow:
    """A line of a table of spending."""

    name: str
    spent: Spent
    part: float | None

    @property
    def part_text(self) -> str:
        """Its part of the whole; a dash where it is unknown."""
        return share(self.part)


@dataclass(frozen=True, slots=True)
class MonthSpend:
    """The workspace's spending this month against its limit; US dollars, ``None`` for no limit.

    ``used`` counts calls in doubt. ``expected`` is the month's end at the pace so far.
    """

    name: str
    used: Decimal
    limit: Decimal | None
    expected: Decimal | None
    last_day: date

    @property
    def percent(self) -> int | None:
        """How far the bar reaches, 0 to 100; ``None`` without a limit."""
        if self.limit is None:
            return None
        return min(100, round(100 * self.used / self.limit)) if self.limit else 100

    @property
    def tone(self) -> str:
        """The bar's colour: the limit is reached, or will be before the month ends."""
        if self.limit is None:
            return ""
        if self.used >= self.limit:
            return "bad"
        return "warn" if self.expected is not None and self.expected > self.limit else ""

    @property
    def text(self) -> str:
        """For example "On course for $81 by 30 June"."""
        if self.expected is None:
            return "Too early to say where the month ends"
        amount = f"${self.expected:,.0f}" if self.expected >= 10 else money(self.expected)
        return f"On course for {amount} by {self.last_day.day} {self.last_day:%B}"


def month_start(now: datetime | None = None) -> datetime:
    """The month's first moment in UTC, as limits count it."""
    moment = (now or timezone.now()).astimezone(UTC)
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def month_spend(workspace: Workspace) -> MonthSpend:
    """Spending this month as limits see it. Two queries."""
    now = timezone.now()
    start = month_start(now)
    scope = f"workspace:{workspace.pk}"
    book = SpendBook.objects.filter(scope=scope, key=period_key(Period.MONTH, start)).first()
    limit = SpendLimit.objects.filter(scope=scope, period=Period.MONTH).first()
    used = book.spent + book.doubt if book else NONE
    days = calendar.monthrange(start.year, start.month)[1]
    gone = now - start
    expected = used * Decimal(days * SHORTEST / gone) if gone >= SHORTEST else None
    last = start.date().replace(day=days)
    return MonthSpend(f"{start:%B}", used, limit.amount if limit else None, expected, last)


@dataclass(slots=True)
class SpendDays:
    """Spending of a month by day and provider. ``names`` are in order of their sums, most first."""

    start: date
    days: int
    names: list[str] = field(default_factory=list)
    cells: dict[tuple[int, str], Spent] = field(default_factory=dict)
    totals: dict[str, Spent] = field(default_factory=dict)

    def on(self, day: int) -> Spent:
        """What was spent on a day of the month, 1 to 31."""
        found = Spent()
        for name in self.names:
            found.add(self.cells.get((day, name), Spent()))
        return found

    @property
    def unpriced(self) -> int:
        """Answers whose price is unknown."""
        return sum(total.unpriced for total in self.totals.values())


def spend_days(workspace: Workspace) -> SpendDays:
    """This month by day and provider. Two queries."""
    start = month_start()
    days = calendar.monthrange(start.year, start.month)[1]
    found = SpendDays(start.date(), days)
    sums: dict[tuple[int, str], Spent] = defaultdict(Spent)
    day = TruncDate("sent_at", tzinfo=UTC)
    for row in _sums(_calls(workspace, start).annotate(day=day), "day", "provider"):
        sums[row["day"].day, row["provider"]].add(_spent(row))
    tried = TruncDate("created_at", tzinfo=UTC)
    for row in _sums_of(_doubts(workspace, start).annotate(day=tried), "day", "provider"):
        sums[row["day"].day, row["provider"]].add(Spent(cost=row["doubt"]))
    totals: dict[str, Spent] = defaultdict(Spent)
    for (_, name), spent in sums.items():
        totals[name].add(spent)
    found.cells, found.totals = dict(sums), dict(totals)
    found.names = sorted(totals, key=lambda name: (-totals[name].cost, name))
    return found


def spend_by_provider(workspace: Workspace) -> dict[str, Spent]:
    """This month by provider name. Two queries."""
    return _by(workspace, "provider", "provider")


def spend_by_model(workspace: Workspace, provider: str = "") -> list[SpendRow]:
    """This month by provider and model, most first; of one provider if named. Two queries."""
    start = month_start()
    sums: dict[str, Spent] = defaultdict(Spent)
    for row in _sums(_calls(workspace, start, provider), "provider", "model"):
        sums[f"{row['provider']} · {row['model']}"].add(_spent(row))
    for row in _sums_of(_doubts(workspace, start, provider), "provider", "model"):
        sums[f"{row['provider']} · {row['model']}"].add(Spent(cost=row["doubt"]))
    return _rows(sums, lambda name: name)


def spend_by_project(workspace: Workspace, provider: str = "") -> list[SpendRow]:
    """This month by project, most first; of one provider if named. Three queries."""
    names = {place.scope: place.name for place in places(workspace)}
    sums = _by(workspace, "project_id", "call__project_id", provider)
    return _rows(sums, lambda pk: _project(names, pk))


def _project(names: Mapping[str, str], pk: int | None) -> str:
    if pk is None:
        return "Trials, outside any project"
    return names.get(f"project:{pk}", "A project that was deleted")


def _by(workspace: Workspace, name: str, of_attempt: str, provider: str = "") -> dict[Any, Spent]:
    start = month_start()
    sums: dict[Any, Spent] = defaultdict(Spent)
    for row in _sums(_calls(workspace, start, provider), name):
        sums[row[name]].add(_spent(row))
    for row in _sums_of(_doubts(workspace, start, provider), of_attempt):
        sums[row[of_attempt]].add(Spent(cost=row["doubt"]))
    return dict(sums)


def _rows(sums: Mapping[Any, Spent], name_of: Callable[[Any], str]) -> list[SpendRow]:
    whole = sum((spent.cost for spent in sums.values()), NONE)
    ordered = sorted(sums.items(), key=lambda item: (-item[1].cost, -item[1].calls))
    return [
        SpendRow(
            name_of(key),
            spent,
            float(spent.cost / whole) if whole and spent.known is not None else None,
        )
        for key, spent in ordered
    ]


def _calls(workspace: Workspace, start: datetime, provider: str = "") -> QuerySet[LlmCall]:
    rows = LlmCall.objects.filter(workspace=workspace, sent_at__gte=start)
    return rows.filter(provider=provider) if provider else rows


def _sums(rows: QuerySet[LlmCall], *by: str) -> Iterable[dict[str, Any]]:
    found: Iterable[dict[str, Any]] = (
        rows.order_by()
        .values(*by)
        .annotate(
            calls=Count("id"),
            tokens=Sum(F("tokens_in") + F("tokens_out")),
            spent=Sum("cost"),
            unpriced=Count("id", filter=ANSWERED_UNPRICED),
        )
    )
    return found


def _spent(row: Mapping[str, Any]) -> Spent:
    return Spent(row["calls"], row["tokens"] or 0, row["spent"] or NONE, row["unpriced"])


def _doubts(workspace: Workspace, start: datetime, provider: str = "") -> QuerySet[LlmAttempt]:
    """Sends that were cut off and may have been billed: they count as spent, as in the books."""
    mine = LlmAttempt.objects.filter(call__workspace=workspace, created_at__gte=start)
    mine = mine.filter(provider=provider) if provider else mine
    return mine.filter(in_doubt=True, cost__isnull=False)


def _sums_of(rows: QuerySet[LlmAttempt], *by: str) -> Iterable[dict[str, Any]]:
    found: Iterable[dict[str, Any]] = rows.order_by().values(*by).annotate(doubt=Sum("cost"))
    return found
