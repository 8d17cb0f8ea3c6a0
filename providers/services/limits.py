"""Spending limits: setting them, warning once, and refusing what does not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from django.db import transaction
from django.utils import timezone

from accounts.models import Role, User, Workspace
from accounts.services import audit, require
from core.errors import Invalid, NotFound
from core.figures import money
from providers.models import Period, SpendLimit
from providers.selectors.limits import (
    PERIODS,
    LimitState,
    period_key,
    places,
    states_of,
)
from providers.services.books import Shortage

LARGEST = Decimal(1_000_000)
"""The largest limit that can be set, in US dollars."""

FREED = {
    Period.ALL.value: "",
    Period.DAY.value: ", or wait until midnight UTC",
    Period.MONTH.value: ", or wait for the next month (UTC)",
}
NEEDED = {"analysis": Role.ANALYST, "project": Role.OWNER, "workspace": Role.OWNER}


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


@transaction.atomic
def set_limits(
    *, actor: User, workspace: Workspace, scope: str, amounts: Mapping[str, Decimal | None]
) -> None:
    """Set the limits of the workspace or of one of its projects, by period; owners only.

    Raises :class:`NotFound` for a scope of elsewhere and :class:`Invalid`.
    """
    require(actor, workspace, Role.OWNER)
    if scope not in {place.scope for place in places(workspace)}:
        raise NotFound
    now = dict(SpendLimit.objects.filter(scope=scope).values_list("period", "amount"))
    for period, amount in amounts.items():
        if now.get(period) != amount:
            set_limit(actor=actor, workspace=workspace, scope=scope, period=period, amount=amount)


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
        f"The next call may cost {money(cost)}, which does not fit under {state.name}: "
        f"{state.text}. Raise the limit to go on{FREED[limit.period]}."
    )


def unpriced_refusal(limit: SpendLimit, model: str) -> str:
    """Why a call of unknown price may not be sent under a limit."""
    state = LimitState(limit.scope, limit.period, limit.amount)
    return (
        f"The price of {model[:80]} is unknown, so {state.name} of {money(limit.amount)} cannot "
        "be kept. Enter a price at the provider, or remove the limit."
    )


def newly_near(scopes: Sequence[str]) -> list[LimitState]:
    """Limits that reached :data:`NEAR` since anybody asked last; each once per period.

    Call it inside a transaction whose commit tells the person.
    """
    now = timezone.now()
    limits = list(SpendLimit.objects.filter(scope__in=scopes))
    near = []
    for row, state in zip(limits, states_of(limits), strict=True):
        key = period_key(row.period, now)
        if state.near and row.warned_for != key:
            unwarned = SpendLimit.objects.filter(pk=row.pk).exclude(warned_for=key)
            if unwarned.update(warned_for=key):
                near.append(state)
    return near
