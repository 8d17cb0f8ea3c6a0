"""Spending limits: setting them, how near they are, and whether spending may go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts.models import Role, User, Workspace
from accounts.services import audit, require
from core.errors import Invalid
from providers.models import Period, SpendBook, SpendLimit
from providers.services.books import PERIODS, Shortage, period_key

NEAR = Decimal("0.8")
"""The share of a limit from which a person is warned, once per period."""

LARGEST = Decimal(1_000_000)
"""The largest limit that can be set, in US dollars."""

WHEN = {Period.ALL.value: "in all", Period.DAY.value: "today", Period.MONTH.value: "this month"}
FREED = {
    Period.ALL.value: "",
    Period.DAY.value: ", or wait until midnight UTC",
    Period.MONTH.value: ", or wait for the next month (UTC)",
}
NEEDED = {"analysis": Role.ANALYST, "project": Role.OWNER, "workspace": Role.OWNER}


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
        """For example "US$ 8.10 of US$ 10.00 this month"."""
        return f"{dollars(self.used)} of {dollars(self.amount)} {WHEN[self.period]}"


def dollars(amount: Decimal) -> str:
    """US dollars to the cent; small amounts keep two digits that say something."""
    if 0 < amount < Decimal("0.01"):
        return f"US$ {amount:.2g}" if amount >= Decimal("0.0001") else "under US$ 0.0001"
    return f"US$ {amount:,.2f}"


def set_limit(
    *, actor: User, workspace: Workspace, scope: str, period: str, amount: Decimal | None
) -> SpendLimit | None:
    """Set the most that may be spent in a scope, in US dollars; ``None`` removes the limit.

    ``scope`` is ``analysis:<id>`` (analysts, period ``all``), ``project:<id>`` or
    ``workspace:<id>`` (owners, ``day`` or ``month``). The caller has checked that the analysis or
    project belongs to ``workspace``. Raises :class:`Invalid`. A lowered limit holds from the next
    call on.
    """
    sort = scope.partition(":")[0]
    require(actor, workspace, NEEDED.get(sort, Role.OWNER))
    _check(workspace, scope, period, amount)
    with transaction.atomic():
        audit(
            workspace=workspace,
            actor=actor,
            action="limit.removed" if amount is None else "limit.set",
            scope=scope,
            period=period,
            amount=None if amount is None else str(amount),
        )
        if amount is None:
            SpendLimit.objects.filter(workspace=workspace, scope=scope, period=period).delete()
            return None
        row, _ = SpendLimit.objects.update_or_create(
            scope=scope,
            period=period,
            defaults={
                "workspace": workspace,
                "amount": amount,
                "warned_for": "",
                "created_by": actor,
            },
        )
    return row


def _check(workspace: Workspace, scope: str, period: str, amount: Decimal | None) -> None:
    sort, _, number = scope.partition(":")
    if sort not in PERIODS or not number.isdecimal() or len(scope) > 40:
        raise Invalid(fields={"scope": "A limit belongs to an analysis, a project or a workspace."})
    if sort == "workspace" and int(number) != workspace.pk:
        raise Invalid(fields={"scope": "This is another workspace."})
    if period not in PERIODS[sort]:
        choices = " or ".join(PERIODS[sort])
        raise Invalid(fields={"period": f"For this the period is {choices}."})
    if amount is not None and not (amount.is_finite() and 0 <= amount <= LARGEST):
        raise Invalid(fields={"amount": "Enter an amount from 0 to 1,000,000 US dollars."})


def refusal(short: Shortage, cost: Decimal) -> str:
    """Why a call may not be sent: which limit it does not fit under."""
    limit = short.limit
    state = LimitState(limit.scope, limit.period, limit.amount, short.used)
    return (
        f"The next call may cost {dollars(cost)}, which does not fit under {state.name}: "
        f"{state.text}. Raise the limit to go on{FREED[limit.period]}."
    )


def unpriced_refusal(limit: SpendLimit, model: str) -> str:
    """Why a call of unknown price may not be sent under a limit."""
    state = LimitState(limit.scope, limit.period, limit.amount)
    return (
        f"The price of {model[:80]} is unknown, so {state.name} of {dollars(limit.amount)} cannot "
        "be kept. Enter a price at the provider, or remove the limit."
    )


def limit_states(scopes: Sequence[str]) -> list[LimitState]:
    """Every limit of the scopes with what its current period holds. Two queries, one without."""
    limits = list(SpendLimit.objects.filter(scope__in=scopes))
    return _states(limits)


def _states(limits: Sequence[SpendLimit]) -> list[LimitState]:
    now = timezone.now()
    wanted = Q(pk__in=[])
    for row in limits:
        wanted |= Q(scope=row.scope, key=period_key(row.period, now))
    books = {(row.scope, row.key): row for row in SpendBook.objects.filter(wanted)}
    empty = SpendBook(spent=Decimal(0), doubt=Decimal(0), reserved=Decimal(0))
    states = []
    for row in limits:
        book = books.get((row.scope, period_key(row.period, now)), empty)
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


def newly_near(scopes: Sequence[str]) -> list[LimitState]:
    """Limits that reached :data:`NEAR` since anybody asked last; each once per period.

    Call it inside a transaction whose commit tells the person.
    """
    now = timezone.now()
    limits = list(SpendLimit.objects.filter(scope__in=scopes))
    near = []
    for row, state in zip(limits, _states(limits), strict=True):
        key = period_key(row.period, now)
        if state.near and row.warned_for != key:
            unwarned = SpendLimit.objects.filter(pk=row.pk).exclude(warned_for=key)
            if unwarned.update(warned_for=key):
                near.append(state)
    return near
