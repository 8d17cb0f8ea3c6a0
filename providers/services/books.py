"""The books of spending: which sums a call belongs to, and moving amounts between them.

A scope is ``analysis:<id>``, ``project:<id>`` or ``workspace:<id>``. Days and months are UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache

from django.db.models import Exists, Q
from django.db.models.functions import Now

from providers.models import SpendBook, SpendLimit, UseLimit
from providers.selectors.limits import PERIODS, period_key

Book = tuple[str, str]
"""Scope and key of one row of :class:`providers.models.SpendBook`."""

NOTHING = Decimal(0)
UNIT = Decimal("0.00000001")
"""The books' smallest amount, in US dollars."""


def scopes_of(workspace: int, project: int | None, analysis: int | None) -> tuple[str, ...]:
    """The scopes a call counts in, narrowest first."""
    scopes = () if analysis is None else (f"analysis:{analysis}",)
    if project is not None:
        scopes = (*scopes, f"project:{project}")
    return (*scopes, f"workspace:{workspace}")


def books_of(scopes: Iterable[str], when: datetime) -> tuple[Book, ...]:
    """The books a send at ``when`` (UTC) counts in."""
    return _books(tuple(scopes), when.date())


@lru_cache(maxsize=1024)
def _books(scopes: tuple[str, ...], day: date) -> tuple[Book, ...]:
    return tuple(
        (scope, period_key(period, day))
        for scope in scopes
        for period in PERIODS[scope.partition(":")[0]]
    )


def lock_key(workspace: int) -> Book:
    """The row that everybody who changes the workspace's books or open calls holds."""
    return f"workspace:{workspace}", "all"


@dataclass(slots=True)
class Sums:
    """The content of a book, in US dollars."""

    spent: Decimal = NOTHING
    doubt: Decimal = NOTHING
    reserved: Decimal = NOTHING


@dataclass(frozen=True, slots=True)
class Shortage:
    """A limit that a call does not fit under.

    ``used`` is spent and in doubt, in US dollars; ``passing`` says that calls now out hold the
    room and may give it back.
    """

    limit: SpendLimit
    used: Decimal
    passing: bool


class Ledger:
    """The books of one workspace, locked until the surrounding transaction ends.

    One row per workspace is the lock, so that books and open calls need no order among
    themselves. ``now`` is the database's clock; ``use_limited`` says whether the workspace limits
    anybody's use. Changes are gathered and written by :meth:`save`.
    """

    def __init__(self, workspace: int) -> None:
        self.workspace = workspace
        self.now, self.use_limited = _locked(workspace)
        self._books: dict[Book, Sums] = {}
        self._changed: set[Book] = set()
        self._limits: list[SpendLimit] = []

    def open(self, scopes: Iterable[str]) -> None:
        """Read limits and current books of the scopes. Two queries."""
        wanted = sorted(set(scopes))
        self._limits = list(SpendLimit.objects.filter(scope__in=wanted))
        self._read(books_of(wanted, self.now))

    def limited(self, scopes: Sequence[str]) -> SpendLimit | None:
        """Any limit in force for the scopes."""
        return next((row for row in self._limits if row.scope in scopes), None)

    def shortage(self, scopes: Sequence[str], amount: Decimal) -> Shortage | None:
        """The limit under which so much does not fit now; one that will not pass goes first."""
        found = None
        for limit in self._limits:
            if limit.scope not in scopes:
                continue
            sums = self._books[limit.scope, period_key(limit.period, self.now)]
            used = sums.spent + sums.doubt
            if used + amount > limit.amount:
                return Shortage(limit, used, passing=False)
            if used + sums.reserved + amount > limit.amount:
                found = Shortage(limit, used, passing=True)
        return found

    def move(
        self,
        scopes: Iterable[str],
        when: datetime,
        *,
        spent: Decimal = NOTHING,
        doubt: Decimal = NOTHING,
        reserved: Decimal = NOTHING,
    ) -> None:
        """Add to the books of a send made at ``when``; negative amounts take away."""
        if not (spent or doubt or reserved):
            return
        books = books_of(scopes, when)
        self._read(books)
        for book in books:
            sums = self._books[book]
            sums.spent += spent
            sums.doubt += doubt
            sums.reserved += reserved
        self._changed.update(books)

    def _read(self, books: Iterable[Book]) -> None:
        missing = [book for book in books if book not in self._books]
        if not missing:
            return
        self._books.update((book, Sums()) for book in missing)
        wanted = set(missing)
        rows = SpendBook.objects.filter(
            Q(scope__in={scope for scope, _ in missing}, key__in={key for _, key in missing})
        )
        for row in rows:
            if (row.scope, row.key) in wanted:
                self._books[row.scope, row.key] = Sums(row.spent, row.doubt, row.reserved)

    def save(self) -> None:
        """Write what changed. One statement."""
        if self._changed:
            SpendBook.objects.bulk_create(
                [_row(book, self._books[book]) for book in sorted(self._changed)],
                update_conflicts=True,
                unique_fields=["scope", "key"],
                update_fields=["spent", "doubt", "reserved"],
            )
            self._changed.clear()


def _row(book: Book, sums: Sums) -> SpendBook:
    scope, key = book
    return SpendBook(
        scope=scope,
        key=key,
        spent=max(NOTHING, sums.spent),
        doubt=max(NOTHING, sums.doubt),
        reserved=max(NOTHING, sums.reserved),
    )


def _locked(workspace: int) -> tuple[datetime, bool]:
    """Take the workspace's lock; gives back the database's clock and whether use is limited."""
    scope, key = lock_key(workspace)
    rows = SpendBook.objects.select_for_update().filter(scope=scope, key=key)
    limited = Exists(UseLimit.objects.filter(workspace=workspace))
    clock = rows.annotate(clock=Now(), limited=limited).values_list("clock", "limited")
    found = list(clock)
    if not found:
        SpendBook.objects.bulk_create([SpendBook(scope=scope, key=key)], ignore_conflicts=True)
        found = list(clock.all())
    moment: datetime = found[0][0]
    return moment, bool(found[0][1])


def amount(value: float | Decimal | None) -> Decimal | None:
    """US dollars as the books hold them: never negative; nonsense is unknown."""
    if value is None:
        return None
    exact = Decimal(value)
    if not exact.is_finite():
        return None
    return min(max(exact, NOTHING), Decimal(99_999)).quantize(UNIT)
