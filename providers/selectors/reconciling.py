"""What the journal says was used and paid, whether the books agree, and what a provider says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count, F, Q, Sum
from django.db.models.functions import TruncDate

from accounts.models import Workspace
from core.figures import count_of, money, thousands
from providers.models import CallState, LlmAttempt, LlmCall, SpendBook
from providers.readers import UsageLine
from providers.selectors.limits import PERIODS, period_key

NOTHING = Decimal(0)
CLOSE = Decimal("0.000001")
"""US dollars by which sums may differ that SQLite adds up as floating-point numbers."""

CENT = Decimal("0.01")
PER_MILLE = Decimal("0.005")
"""A provider's costs are rounded: half a percent or a cent is no difference."""


@dataclass(slots=True)
class Sums:
    """Calls answered, their tokens and cost in US dollars.

    ``tokens_cached`` are part of ``tokens_in``, ``tokens_reasoning`` of ``tokens_out``. ``doubts``
    are sends that were cut off, with the estimate ``in_doubt``; ``unpriced`` answers have no cost.
    ``batched`` answers came through a batch API.
    """

    calls: int = 0
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    tokens_reasoning: int = 0
    settled: Decimal = NOTHING
    unpriced: int = 0
    batched: int = 0
    doubts: int = 0
    in_doubt: Decimal = NOTHING

    def add(self, other: Sums) -> None:
        """Count other calls too."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True, slots=True)
class Line:
    """A day (UTC), provider, model and purpose, with what was used."""

    day: date
    provider: str
    model: str
    purpose: str
    sums: Sums


@dataclass(frozen=True, slots=True)
class Check:
    """A rule that always holds, whether it does, and what is wrong where it does not."""

    name: str
    ok: bool
    text: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The lines of a time with their total, and whether the books agree with the journal."""

    since: date
    until: date
    lines: tuple[Line, ...]
    total: Sums
    checks: tuple[Check, ...] = field(default=())

    @property
    def sound(self) -> bool:
        """Whether every rule holds."""
        return all(check.ok for check in self.checks)


def report(workspace: Workspace, since: date, until: date) -> Report:
    """What was used and paid from ``since`` to ``until`` (days of UTC, both included).

    Calls count on the day they were sent, calls in doubt on the day they were cut off. Two queries
    for the lines; the checks read the sums of the whole journal.
    """
    found: defaultdict[Key, Sums] = defaultdict(Sums)
    start = datetime.combine(since, time.min, UTC)
    end = datetime.combine(until + timedelta(days=1), time.min, UTC)
    for key, sums in (*_answered(workspace, start, end), *_doubted(workspace, start, end)):
        found[key].add(sums)
    lines = tuple(Line(*key, sums) for key, sums in sorted(found.items(), key=lambda one: one[0]))
    total = Sums()
    for line in lines:
        total.add(line.sums)
    return Report(since, until, lines, total, tuple(checks(workspace)))


Key = tuple[date, str, str, str]
"""Day, provider, model, purpose."""

Found = list[tuple[Key, Sums]]


def _answered(workspace: Workspace, start: datetime, end: datetime) -> Found:
    rows = (
        LlmCall.objects.filter(
            workspace=workspace, state=CallState.OK, sent_at__gte=start, sent_at__lt=end
        )
        .annotate(day=TruncDate("sent_at", tzinfo=UTC))
        .values("day", "provider", "model", "purpose")
        .annotate(
            calls=Count("pk"),
            tokens_in=Sum("tokens_in"),
            tokens_cached=Sum("tokens_cached"),
            tokens_out=Sum("tokens_out"),
            tokens_reasoning=Sum("tokens_reasoning"),
            settled=Sum("cost"),
            unpriced=Count("pk", filter=Q(cost=None)),
            batched=Count("pk", filter=Q(batched=True)),
        )
        .order_by()
    )
    return [_read(dict(row)) for row in rows]


def _read(row: dict[str, Any]) -> tuple[Key, Sums]:
    day, provider, model, purpose = (
        row.pop(name) for name in ("day", "provider", "model", "purpose")
    )
    row["settled"] = row["settled"] or NOTHING
    return (day, provider, model, purpose), Sums(**row)


def _doubted(workspace: Workspace, start: datetime, end: datetime) -> Found:
    rows = (
        LlmAttempt.objects.filter(
            call__workspace=workspace, in_doubt=True, created_at__gte=start, created_at__lt=end
        )
        .annotate(day=TruncDate("created_at", tzinfo=UTC))
        .values_list("day", "provider", "model", "call__purpose")
        .annotate(Count("pk"), Sum("cost"))
        .order_by()
    )
    return [
        ((day, provider, model, purpose), Sums(doubts=count, in_doubt=cost or NOTHING))
        for day, provider, model, purpose, count, cost in rows
    ]


# Whether the books agree


Book = tuple[str, str]
Amounts = dict[Book, list[Decimal]]


def checks(workspace: Workspace) -> list[Check]:
    """Whether the books say what the journal says, over all time. Four queries."""
    expected = _expected(workspace)
    scopes = {scope for scope, _ in expected} | {f"workspace:{workspace.pk}"}
    booked = {
        (row.scope, row.key): [row.spent, row.doubt, row.reserved]
        for row in SpendBook.objects.filter(scope__in=scopes)
    }
    lock = (f"workspace:{workspace.pk}", "all")  # the row that is only held, never written
    keys = sorted({*expected, *booked} - {lock})
    empty = [NOTHING] * 3
    names = (
        "Settled cost is the sum of answered calls",
        "Cost in doubt is the sum of sends that were cut off",
        "What is set aside is the sum of calls now out",
    )
    found = []
    for position, name in enumerate(names):
        wrong = [
            (key, booked.get(key, empty)[position], expected.get(key, empty)[position])
            for key in keys
        ]
        found.append(_agree(name, [one for one in wrong if abs(one[1] - one[2]) > CLOSE]))
    negative = [key for key, amounts in booked.items() if min(amounts) < 0]
    text = "" if not negative else f"Below zero: {_named(negative[0])}."
    return [*found, Check("No amount is below zero", not negative, text)]


def _agree(name: str, wrong: list[tuple[Book, Decimal, Decimal]]) -> Check:
    if not wrong:
        return Check(name, True)
    key, booked, counted = wrong[0]
    more = f" {len(wrong) - 1} more differ." if len(wrong) > 1 else ""
    text = f"{_named(key)} is {booked:.8f} in the books and {counted:.8f} by the journal.{more}"
    return Check(name, False, text)


def _named(key: Book) -> str:
    return f"{key[0]} {key[1]}"


def _expected(workspace: Workspace) -> Amounts:
    """What the books have to say, by the journal: settled, in doubt, set aside."""
    amounts: Amounts = defaultdict(lambda: [NOTHING, NOTHING, NOTHING])
    calls = LlmCall.objects.filter(workspace=workspace).annotate(
        day=TruncDate("sent_at", tzinfo=UTC), project=F("project_id"), analysis=F("analysis_id")
    )
    doubts = LlmAttempt.objects.filter(call__workspace=workspace, in_doubt=True).annotate(
        day=TruncDate("created_at", tzinfo=UTC),
        project=F("call__project_id"),
        analysis=F("call__analysis_id"),
    )
    for position, rows, column in (
        (0, calls.filter(state=CallState.OK), "cost"),
        (1, doubts, "cost"),
        (2, calls.filter(state=CallState.SENT), "reserved"),
    ):
        sums = rows.values_list("project", "analysis", "day").annotate(Sum(column)).order_by()
        for project, analysis, day, total in sums:
            if not total:
                continue
            for book in _books_of(workspace.pk, project, analysis, day):
                amounts[book][position] += total
    return amounts


def _books_of(
    workspace: int, project: int | None, analysis: int | None, day: date
) -> Iterable[Book]:
    named = (("analysis", analysis), ("project", project), ("workspace", workspace))
    for sort, pk in named:
        if pk is not None:
            for period in PERIODS[sort]:
                yield f"{sort}:{pk}", period_key(period, day)


# What a provider says


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a provider's export and the journal differ. ``what`` is the column, in words."""

    day: date
    model: str
    what: str
    ours: str
    theirs: str

    @property
    def text(self) -> str:
        """One line for a terminal."""
        return (
            f"{self.day} {self.model}: {self.what} {self.ours} here, {self.theirs} at the provider"
        )


def against(lines: Iterable[Line], usage: Iterable[UsageLine]) -> list[Difference]:
    """Where a provider's export differs from the journal's lines of that provider.

    Compared by day and model for the days that the export covers. A model of the export counts
    as ours when it is named so, or so and a date or version after a hyphen. A call in doubt may
    or may not have been counted there: both agree.
    """
    said = list(usage)
    if not said:
        return []
    days = (min(row.day for row in said), max(row.day for row in said))
    ours: defaultdict[tuple[date, str], Sums] = defaultdict(Sums)
    for line in lines:
        if days[0] <= line.day <= days[1]:
            ours[line.day, line.model].add(line.sums)
    theirs = _theirs(said, {model for _, model in ours})
    found: list[Difference] = []
    for day, model in sorted({*ours, *theirs}):
        found += _differences(day, model, ours.get((day, model), Sums()), theirs.get((day, model)))
    return found


@dataclass(slots=True)
class _Said:
    requests: int | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost: Decimal | None = None


def _theirs(said: Iterable[UsageLine], models: set[str]) -> dict[tuple[date, str], _Said]:
    found: dict[tuple[date, str], _Said] = {}
    for row in said:
        sums = found.setdefault((row.day, _ours(row.model, models)), _Said())
        for name in ("requests", "tokens_in", "tokens_out", "cost"):
            value, before = getattr(row, name), getattr(sums, name)
            if value is not None:
                setattr(sums, name, value + (before or 0))
    return found


def _ours(model: str, models: set[str]) -> str:
    """Our name of a model in an export; its own where we have none."""
    if model in models:
        return model
    fits = [name for name in models if model.startswith((f"{name}-", f"{name}@"))]
    return max(fits, key=len, default=model)


def _differences(day: date, model: str, ours: Sums, theirs: _Said | None) -> list[Difference]:
    said = theirs or _Said(0, 0, 0, None)
    found = []
    if said.requests is not None and not ours.calls <= said.requests <= ours.calls + ours.doubts:
        here = count_of(ours.calls, "call") + (
            f" and {ours.doubts} in doubt" if ours.doubts else ""
        )
        found.append(Difference(day, model, "requests:", here, thousands(said.requests)))
    for what, mine, other in (
        ("tokens in:", ours.tokens_in, said.tokens_in),
        ("tokens out:", ours.tokens_out, said.tokens_out),
    ):
        # The tokens of calls in doubt are not known; more there than here is then no surprise.
        if other is not None and (other < mine or (other > mine and not ours.doubts)):
            found.append(Difference(day, model, what, thousands(mine), thousands(other)))
    if said.cost is not None and not ours.unpriced:
        room = max(CENT, said.cost * PER_MILLE)
        if not ours.settled - room <= said.cost <= ours.settled + ours.in_doubt + room:
            found.append(Difference(day, model, "cost:", money(ours.settled), money(said.cost)))
    return found


def by_model(lines: Iterable[Line]) -> Mapping[tuple[str, str], Sums]:
    """The lines summed up by provider and model."""
    found: defaultdict[tuple[str, str], Sums] = defaultdict(Sums)
    for line in lines:
        found[line.provider, line.model].add(line.sums)
    return dict(sorted(found.items()))
