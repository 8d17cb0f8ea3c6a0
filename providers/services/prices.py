"""Prices that owners enter, from when they hold, and what they make of calls without a price."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from accounts.models import Role, User
from accounts.services import audit, require
from core.errors import Invalid
from providers.models import CallState, LlmCall, ModelDeployment, ModelPrice
from providers.prices import cost_at
from providers.selectors.prices import dated_prices, price_of
from providers.services.books import NOTHING, Ledger, amount, scopes_of
from providers.services.bulk import PRICE_FACTOR

LARGEST = Decimal(100_000)
"""US dollars per million tokens; more is a slip of the decimal point."""

FURTHEST = timedelta(days=3660)
GROUP = 500
"""Calls priced in one transaction, which holds up the workspace's calls."""


@transaction.atomic
def set_price(
    *,
    actor: User,
    deployment: ModelDeployment,
    price_in: Decimal,
    price_out: Decimal = NOTHING,
    price_cached: Decimal | None = None,
    effective_from: datetime | None = None,
) -> ModelPrice:
    """Say what a model costs from a moment on, now without one. Owners only.

    US dollars per million tokens; ``price_cached`` is for input read from the provider's cache,
    ``None`` for the price of other input. A price of the same moment is replaced. Calls that were
    priced already stay as they are; see :func:`reprice` for those without. Raises :class:`Invalid`.
    """
    workspace = deployment.provider.workspace
    require(actor, workspace, Role.OWNER)
    moment = effective_from or timezone.now()
    _check(moment, price_in=price_in, price_out=price_out, price_cached=price_cached)
    row, _ = ModelPrice.objects.update_or_create(
        deployment=deployment,
        effective_from=moment,
        defaults={
            "price_in": price_in,
            "price_out": price_out,
            "price_cached": price_cached,
            "created_by": actor,
        },
    )
    audit(
        workspace=workspace,
        actor=actor,
        action="price.set",
        obj=deployment,
        model=deployment.model,
        effective_from=moment.isoformat(),
        price_in=str(price_in),
        price_out=str(price_out),
        price_cached=None if price_cached is None else str(price_cached),
    )
    return row


@transaction.atomic
def drop_price(*, actor: User, price: ModelPrice) -> None:
    """Take a dated price back; the one before it holds again. Owners only."""
    deployment = price.deployment
    workspace = deployment.provider.workspace
    require(actor, workspace, Role.OWNER)
    audit(
        workspace=workspace,
        actor=actor,
        action="price.dropped",
        obj=deployment,
        model=deployment.model,
        effective_from=price.effective_from.isoformat(),
    )
    price.delete()


def _check(moment: datetime, **prices: Decimal | None) -> None:
    for name, value in prices.items():
        if value is not None and not (value.is_finite() and 0 <= value <= LARGEST):
            raise Invalid(fields={name: "Enter US dollars per million tokens, 0 to 100,000."})
    if timezone.is_naive(moment) or abs(moment - timezone.now()) > FURTHEST:
        raise Invalid(fields={"effective_from": "Enter a date within ten years."})


@dataclass(slots=True)
class Repriced:
    """What pricing calls afterwards came to: how many, US dollars, and those still without."""

    calls: int = 0
    cost: Decimal = NOTHING
    left: int = 0
    analyses: set[int] = field(default_factory=set)


def reprice(*, actor: User, deployment: ModelDeployment, since: datetime) -> Repriced:
    """Price a model's answered calls that have no price, at what was in force when each was sent.

    Owners only. What they cost is booked on the days they were sent, so that limits and reports
    count it from now on; priced calls and calls in doubt stay as they are. Works in groups and may
    be repeated.
    """
    workspace = deployment.provider.workspace
    require(actor, workspace, Role.OWNER)
    result, last = Repriced(), 0
    while (last := _price_some(deployment, since, last, result)) > 0:
        pass
    if result.calls:
        with transaction.atomic():
            audit(
                workspace=workspace,
                actor=actor,
                action="price.calls_priced",
                obj=deployment,
                model=deployment.model,
                since=since.isoformat(),
                calls=result.calls,
                cost=str(result.cost),
            )
        recount: Callable[[int], None] = import_string(settings.SPENDING_RECOUNT)
        for analysis in sorted(result.analyses):
            recount(analysis)
    return result


@transaction.atomic
def _price_some(deployment: ModelDeployment, since: datetime, after: int, into: Repriced) -> int:
    """Price one group under the workspace's lock; returns its last key, 0 when none is left."""
    ledger = Ledger(deployment.provider.workspace_id)
    rows = list(
        LlmCall.objects.filter(
            workspace=ledger.workspace,
            deployment_id=deployment.pk,
            state=CallState.OK,
            cost=None,
            sent_at__gte=since,
            pk__gt=after,
        )
        .order_by("pk")
        .defer("response")[:GROUP]
    )
    dated = dated_prices(deployment)
    priced = [row for row in rows if _priced(row, deployment, dated)]
    for row in priced:
        scopes = scopes_of(ledger.workspace, row.project_id, row.analysis_id)
        ledger.move(scopes, row.sent_at, spent=row.cost or NOTHING)
        into.cost += row.cost or NOTHING
        if row.analysis_id is not None:
            into.analyses.add(row.analysis_id)
    LlmCall.objects.bulk_update(priced, ["cost"])
    ledger.save()
    into.calls += len(priced)
    into.left += len(rows) - len(priced)
    return rows[-1].pk if rows else 0


def _priced(call: LlmCall, deployment: ModelDeployment, dated: Sequence[ModelPrice]) -> bool:
    """Write a call's cost into it; whether its price is known."""
    prices = price_of(deployment, call.sent_at, call.tokens_in, dated).prices
    if prices is None:
        return False
    factor = PRICE_FACTOR if call.batched else 1.0
    cost = cost_at(prices, call.tokens_in, call.tokens_out, call.tokens_cached)
    call.cost = amount(factor * cost)
    return True
