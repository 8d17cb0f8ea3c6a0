"""Spending limits and what was spent under them, ready for pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from django.conf import settings
from django.db.models import Q
from django.utils import timezone
from django.utils.module_loading import import_string

from accounts.models import Workspace
from core.figures import money
from providers.models import Period, SpendBook, SpendLimit

PERIODS: dict[str, tuple[str, ...]] = {
    "analysis": (Period.ALL,),
    "project": (Period.DAY, Period.MONTH),
    "workspace": (Period.DAY, Period.MONTH),
}
"""The periods in which each sort of scope may be limited."""

NEAR = Decimal("0.8")
"""The share of a limit from which a person is warned, once per period."""

WHEN = {Period.ALL.value: "in all", Period.DAY.value: "today", Period.MONTH.value: "this month"}

EMPTY = SpendBook(spent=Decimal(0), doubt=Decimal(0), reserved=Decimal(0))


def period_key(period: str, now: date) -> str:
    """The key of the period in which ``now`` (UTC) lies: ``all``, ``2026-11``, ``2026-11-20``."""
    if period == Period.ALL:
        return "all"
    return now.strftime("%Y-%m-%d" if period == Period.DAY else "%Y-%m")


@dataclass(frozen=True, slots=True)
class LimitState:
    """A limit and what was spent of it in the current period (UTC); amounts are US dollars.

    ``doubt`` counts as spent; ``reserved`` is the most that calls now out can cost.
    """

    scope: str
    period: str
    amount: Decimal
    spent: Decimal = Decimal(0)
    doubt: Decimal = Decimal(0)
    reserved: Decimal = Decimal(0)

    @property
    def used(self) -> Decimal:
        """Spent, calls in doubt included."""
        return self.spent + self.doubt

    @property
    def left(self) -> Decimal:
        """What may still be spent, calls now out not counted; never negative."""
        return max(Decimal(0), self.amount - self.used)

    @property
    def share(self) -> float:
        """The share used, from 0; 1 for a limit of nothing."""
        return float(self.used / self.amount) if self.amount else 1.0

    @property
    def near(self) -> bool:
        """Whether the warning is due."""
        return self.used >= NEAR * self.amount

    @property
    def name(self) -> str:
        """Which limit it is, in words: "the project's limit a month"."""
        sort = self.scope.partition(":")[0]
        return f"the {sort}'s limit {Period(self.period).label}"

    @property
    def text(self) -> str:
        """For example "$8.10 of $10.00 this month"."""
        return f"{money(self.used)} of {money(self.amount)} {WHEN[self.period]}"


def limit_states(scopes: Sequence[str]) -> list[LimitState]:
    """Every limit of the scopes with what its current period holds. Two queries, one without."""
    limits = list(SpendLimit.objects.filter(scope__in=scopes))
    return states_of(limits)


def states_of(limits: Sequence[SpendLimit]) -> list[LimitState]:
    now = timezone.now()
    wanted = Q(pk__in=[])
    for row in limits:
        wanted |= Q(scope=row.scope, key=period_key(row.period, now))
    books = {(row.scope, row.key): row for row in SpendBook.objects.filter(wanted)}
    states = []
    for row in limits:
        book = books.get((row.scope, period_key(row.period, now)), EMPTY)
        states.append(
            LimitState(row.scope, row.period, row.amount, book.spent, book.doubt, book.reserved)
        )
    return states


def room(scopes: Sequence[str], *, needed: Decimal = Decimal(0)) -> bool:
    """Whether spending may go on: every limit of the scopes has something left.

    ``needed`` is the most the next call can cost, in US dollars, where the caller knows it.
    """
    return all(
        state.used < state.amount and state.used + needed <= state.amount
        for state in limit_states(scopes)
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Where spending is counted and may be limited. ``slug`` is empty for the workspace."""

    scope: str
    name: str
    slug: str = ""


@dataclass(frozen=True, slots=True)
class Spending:
    """What was spent in a place in the current period, in US dollars; no limit is ``None``."""

    period: str
    limit: Decimal | None
    sums: LimitState

    @property
    def when(self) -> str:
        """The period in words: "today"."""
        return WHEN[self.period]

    @property
    def tone(self) -> str:
        """The colour of the bar."""
        if self.limit is None:
            return ""
        return "bad" if self.sums.used >= self.limit else "warn" if self.sums.near else ""

    @property
    def percent(self) -> int:
        """How far the bar reaches, calls now out included."""
        total = self.sums.used + self.sums.reserved
        if not self.limit:
            return 100 if self.limit is not None and total else 0
        return min(100, round(100 * total / self.limit))

    @property
    def parts(self) -> str:
        """What the sum consists of, in words."""
        sums = self.sums
        return (
            f"{money(sums.spent)} settled, {money(sums.doubt)} in doubt, "
            f"{money(sums.reserved)} set aside for calls now out."
        )

    @property
    def text(self) -> str:
        """For example "$8.10 of $10.00"."""
        used = money(self.sums.used)
        return used if self.limit is None else f"{used} of {money(self.limit)}"


@dataclass(frozen=True, slots=True)
class PlaceRow:
    """A place with its spending by period."""

    place: Place
    periods: tuple[Spending, ...]


def places(workspace: Workspace) -> list[Place]:
    """The workspace, then what apps above say it consists of."""
    named: Callable[[Workspace], Iterable[tuple[int, str, str]]] = import_string(
        settings.SPENDING_PROJECTS
    )
    projects = [Place(f"project:{pk}", name, slug) for pk, name, slug in named(workspace)]
    return [Place(f"workspace:{workspace.pk}", workspace.name), *projects]


def spending(workspace: Workspace) -> list[PlaceRow]:
    """Limits and sums of the workspace and its projects. Three queries."""
    now = timezone.now()
    found = places(workspace)
    scopes = [place.scope for place in found]
    limits = {
        (row.scope, row.period): row.amount for row in SpendLimit.objects.filter(scope__in=scopes)
    }
    keys = {period_key(period, now) for period in (Period.DAY, Period.MONTH)}
    books = {
        (row.scope, row.key): row
        for row in SpendBook.objects.filter(scope__in=scopes, key__in=keys)
    }
    rows = []
    for place in found:
        periods = []
        for period in PERIODS[place.scope.partition(":")[0]]:
            limit = limits.get((place.scope, period))
            book = books.get((place.scope, period_key(period, now))) or EMPTY
            sums = LimitState(
                place.scope, period, limit or Decimal(0), book.spent, book.doubt, book.reserved
            )
            periods.append(Spending(period, limit, sums))
        rows.append(PlaceRow(place, tuple(periods)))
    return rows
