"""What calls cost this month (UTC): by day, provider, project and model, ready for pages."""

from __future__ import annotations

import calendar
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.core.cache import cache
from django.db.models import Count, DateField, F, Q, QuerySet, Sum, Value
from django.db.models.functions import TruncDate
from django.utils import timezone

from accounts.models import Workspace
from core.figures import count_of, money, share
from providers.models import CallState, LlmAttempt, LlmCall, Period, SpendBook, SpendLimit
from providers.selectors.limits import period_key, places

NONE = Decimal(0)
ANSWERED_UNPRICED = Q(cost=None, state=CallState.OK)
KEPT_SECONDS = 600
"""How long the sums of days that are over are kept; an answer may settle a little late."""

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
    """This month by day and provider. Two queries, four when the past days are read anew."""
    start = month_start()
    days = calendar.monthrange(start.year, start.month)[1]
    found = SpendDays(start.date(), days)
    sums: dict[tuple[int, str], Spent] = defaultdict(Spent)
    totals: dict[str, Spent] = defaultdict(Spent)
    for (day, name), spent in _grouped(workspace, "day", "provider"):
        sums[day.day, name].add(spent)
        totals[name].add(spent)
    found.cells, found.totals = dict(sums), dict(totals)
    found.names = sorted(totals, key=lambda name: (-totals[name].cost, name))
    return found


def spend_by_provider(workspace: Workspace) -> dict[str, Spent]:
    """This month by provider name. Two queries, four when the past days are read anew."""
    return spend_days(workspace).totals


def spend_by_model(workspace: Workspace, only: str = "") -> list[SpendRow]:
    """This month by provider and model, most first; ``only`` one provider's by its name.

    Two to four queries.
    """
    sums: dict[str, Spent] = defaultdict(Spent)
    for (provider, model), spent in _grouped(workspace, "provider", "model"):
        if only in ("", provider):
            sums[model if only else f"{provider} · {model}"].add(spent)
    return _rows(sums, lambda name: name)


def spend_by_project(workspace: Workspace, only: str = "") -> list[SpendRow]:
    """This month by project, most first; ``only`` one provider's by its name.

    Three to five queries.
    """
    names = {place.scope: place.name for place in places(workspace)}
    sums: dict[int | None, Spent] = defaultdict(Spent)
    for (provider, pk), spent in _grouped(workspace, "provider", "project"):
        if only in ("", provider):
            sums[pk].add(spent)
    return _rows(sums, lambda pk: _project(names, pk))


def _project(names: Mapping[str, str], pk: int | None) -> str:
    if pk is None:
        return "Trials, outside any project"
    return names.get(f"project:{pk}", "A project that was deleted")


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


CALL_FIELDS = {"day": "day", "project": "project_id"}
ATTEMPT_FIELDS = {"day": "day", "project": "call__project_id"}
"""What the groups are called in the tables; a name that is missing is the field's own."""

Group = tuple[tuple[Any, ...], Spent]


def _grouped(workspace: Workspace, *by: str) -> list[Group]:
    """This month's sums by ``day`` (UTC), ``provider``, ``model`` or ``project``.

    Days that are over hardly change: their sums are kept for :data:`KEPT_SECONDS`, so that a page
    that many look at reads today alone.
    """
    start = month_start()
    today = timezone.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    key = f"spend:{workspace.uid}:{today:%Y-%m-%d}:{','.join(by)}"
    past: list[Group] | None = cache.get(key)
    if past is None:
        past = _read(workspace, (start, today), by) if today > start else []
        cache.set(key, past, KEPT_SECONDS)
    return [*past, *_read(workspace, (today, None), by)]


def _read(
    workspace: Workspace, span: tuple[datetime, datetime | None], by: tuple[str, ...]
) -> list[Group]:
    """The sums of calls sent in a span, and of sends in doubt, which count as spent."""
    calls = LlmCall.objects.filter(workspace=workspace, **_within("sent_at", span))
    tried = LlmAttempt.objects.filter(call__workspace=workspace, **_within("created_at", span))
    doubts = tried.filter(in_doubt=True, cost__isnull=False)
    names = [CALL_FIELDS.get(name, name) for name in by]
    found: list[Group] = [
        (tuple(row[name] for name in names), _spent(row))
        for row in _sums(_dated(calls, "sent_at", span), names)
    ]
    names = [ATTEMPT_FIELDS.get(name, name) for name in by]
    rows = _dated(doubts, "created_at", span).order_by().values(*names)
    for row in rows.annotate(doubt=Sum("cost")):
        found.append((tuple(row[name] for name in names), Spent(cost=row["doubt"])))
    return found


def _within(name: str, span: tuple[datetime, datetime | None]) -> dict[str, datetime]:
    first, end = span
    return {f"{name}__gte": first, **({f"{name}__lt": end} if end else {})}


def _dated(rows: QuerySet[Any], name: str, span: tuple[datetime, datetime | None]) -> QuerySet[Any]:
    """With the day as ``day``; the open span is today, which needs no look at each row."""
    first, end = span
    day = TruncDate(name, tzinfo=UTC) if end else Value(first.date(), output_field=DateField())
    dated: QuerySet[Any] = rows.annotate(day=day)
    return dated


def _sums(rows: QuerySet[Any], by: list[str]) -> Iterable[dict[str, Any]]:
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
