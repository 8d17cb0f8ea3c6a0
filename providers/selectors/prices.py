"""What models cost, since when and by whose word, and which calls have no price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from django.db.models import Count, Min, Sum
from django.utils import timezone

from accounts.models import Workspace
from core.figures import count_of
from providers.models import CallState, LlmCall, ModelDeployment, ModelPrice
from providers.prices import FREE_KINDS, UnitPrices, list_prices

UNPRICED_FOR = timedelta(days=31)
"""How far back calls without a price are looked for."""

Source = Literal["dated", "own", "free", "list", "unknown"]


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs at a moment.

    ``source`` says by whose word: a ``dated`` price of an owner, their ``own`` without a date, the
    public ``list``, ``free`` for what sends no bill, or ``unknown``, and then ``prices`` is
    ``None``. ``since`` goes with ``dated``.
    """

    prices: UnitPrices | None
    source: Source
    since: datetime | None = None


def price_in_force(deployment: ModelDeployment, when: datetime) -> ModelPrice | None:
    """The newest dated price of a model that was in force at a moment, if there is one."""
    rows = ModelPrice.objects.filter(deployment=deployment.pk, effective_from__lte=when)
    return rows.order_by("-effective_from").first()


def dated_prices(deployment: ModelDeployment) -> list[ModelPrice]:
    """A model's dated prices, those to come first. One query."""
    return list(ModelPrice.objects.filter(deployment=deployment).order_by("-effective_from"))


def price_of(
    deployment: ModelDeployment,
    when: datetime | None = None,
    tokens_in: int = 0,
    dated: Sequence[ModelPrice] | None = None,
) -> Price:
    """What a request of ``tokens_in`` tokens to a model costs at a moment, now without one.

    ``dated`` are the model's dated prices, newest first, where the caller has them.
    """
    moment = when or timezone.now()
    rows = dated_prices(deployment) if dated is None else dated
    row = next((row for row in rows if row.effective_from <= moment), None)
    if row is not None:
        return Price(_units(row), "dated", row.effective_from)
    if deployment.price_in is not None and (deployment.price_out is not None or deployment.embeds):
        return Price(_units(deployment), "own")
    if deployment.provider.kind in FREE_KINDS:
        return Price(UnitPrices(0.0, 0.0, 0.0), "free")
    listed = list_prices(deployment.model, deployment.provider.base_url, tokens_in, moment)
    return Price(listed, "unknown" if listed is None else "list")


def prices_of(deployments: Sequence[ModelDeployment]) -> dict[int, UnitPrices | None]:
    """What each model costs now, by primary key; ``None`` where nobody knows. One query."""
    dated: dict[int, list[ModelPrice]] = {one.pk: [] for one in deployments}
    for row in ModelPrice.objects.filter(deployment__in=dated).order_by("-effective_from"):
        dated[row.deployment_id].append(row)
    return {one.pk: price_of(one, dated=dated[one.pk]).prices for one in deployments}


def _units(row: ModelDeployment | ModelPrice) -> UnitPrices:
    price_in = float(row.price_in or 0)
    cached = price_in if row.price_cached is None else float(row.price_cached)
    return UnitPrices(price_in, float(row.price_out or 0), cached)


@dataclass(frozen=True, slots=True)
class Unpriced:
    """A model whose calls cost an unknown amount.

    ``deployment`` is ``None`` where the model is gone. ``calls`` were answered without a price
    since ``first``; ``known`` says that a price is known by now, so that they can be priced.
    """

    provider: str
    model: str
    deployment: ModelDeployment | None
    calls: int = 0
    tokens: int = 0
    first: datetime | None = None
    known: bool = False

    @property
    def text(self) -> str:
        """What it means and what to do, for a notice."""
        name = f"{self.model} at {self.provider}"
        calls = count_of(self.calls, "call")
        if self.known:
            return f"{calls} to {name} were made before its price was known. They can be priced."
        if self.calls:
            return (
                f"The price of {name} is unknown: {calls} in the last 31 days have no cost, and no "
                "spending limit counts them. Enter a price."
            )
        return f"The price of {name} is unknown. Enter one before a spending limit has to be kept."


def unpriced(workspace: Workspace) -> list[Unpriced]:
    """Models without a price, and those with calls without one. Three queries."""
    offered = ModelDeployment.objects.filter(provider__workspace=workspace)
    models = {row.pk: row for row in offered.select_related("provider")}
    dated: dict[int, list[ModelPrice]] = {}
    prices = ModelPrice.objects.filter(deployment__in=models).order_by("-effective_from")
    for price in prices:
        dated.setdefault(price.deployment_id, []).append(price)
    known = {
        pk: price_of(row, dated=dated.get(pk, [])).prices is not None for pk, row in models.items()
    }
    found = _with_calls(workspace, models, known)
    counted = {one.deployment.pk for one in found if one.deployment is not None}
    silent = [
        Unpriced(row.provider.name, row.model, row)
        for pk, row in models.items()
        if not (known[pk] or pk in counted or row.retired) and row.provider.enabled
    ]
    return [*found, *silent]


def _with_calls(
    workspace: Workspace, models: dict[int, ModelDeployment], known: dict[int, bool]
) -> list[Unpriced]:
    calls = LlmCall.objects.filter(
        workspace=workspace,
        sent_at__gte=timezone.now() - UNPRICED_FOR,
        state=CallState.OK,
        cost=None,
    )
    rows = (
        calls.values("deployment_id", "provider", "model")
        .annotate(
            calls=Count("pk"),
            read=Sum("tokens_in"),
            written=Sum("tokens_out"),
            first=Min("sent_at"),
        )
        .order_by("-calls")
    )
    return [_counted(dict(row), models, known) for row in rows]


def _counted(
    row: dict[str, Any], models: dict[int, ModelDeployment], known: dict[int, bool]
) -> Unpriced:
    pk = row["deployment_id"] or 0
    return Unpriced(
        row["provider"],
        row["model"],
        models.get(pk),
        row["calls"],
        row["read"] + row["written"],
        row["first"],
        known.get(pk, False),
    )
