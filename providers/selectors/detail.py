"""One provider in full: how it does, what it cost, its models with their prices, its batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal

from django.db.models import Count, Prefetch

from accounts.models import ApiKey, AuditEvent, User, Workspace
from core.errors import NotFound
from providers.models import (
    CallState,
    LlmCall,
    ModelDeployment,
    ModelPrice,
    Provider,
    ProviderBatch,
)
from providers.selectors.happenings import ChangeRow, recent_changes
from providers.selectors.health import DeploymentHealthRow, ProviderHealth, provider_health
from providers.selectors.limits import places
from providers.selectors.prices import price_of
from providers.selectors.spend import SpendDays, month_start, spend_days

MOST_CHANGES = 200
SHOWN_CHANGES = 12
SHOWN_BATCHES = 20
PRICED_FOR = timedelta(days=366)
"""How far back answers without a price can be priced in one go."""

YES_NO = {True: "yes", False: "no", None: "not known yet"}


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs now. ``source`` says where that is known from; ``text`` is "unpriced"
    where nothing knows it."""

    text: str
    source: str

    @property
    def known(self) -> bool:
        """Whether calls can be priced."""
        return bool(self.source)


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model with what it can do, how it does, and what it costs."""

    deployment: ModelDeployment
    health: DeploymentHealthRow | None
    price: Price
    dated: tuple[ModelPrice, ...]
    unpriced: int

    @property
    def capabilities(self) -> list[tuple[str, str]]:
        """What it can do, name by name."""
        one = self.deployment
        if one.embeds:
            return [("Dimensions", f"{one.dimensions:,}" if one.dimensions else YES_NO[None])]
        return [
            ("JSON schema", YES_NO[one.supports_schema]),
            ("Tools", YES_NO[one.supports_tools]),
            ("Streaming", YES_NO[one.supports_streaming]),
            ("Context", f"{one.context_tokens:,} tokens" if one.context_tokens else YES_NO[None]),
            ("Batches", "yes" if one.offers_batches else "no"),
        ]


def health_of(row: Provider) -> ProviderHealth:
    """How one provider does. Five queries."""
    return provider_health(row.workspace)[row.pk]


def model_rows(row: Provider, health: ProviderHealth) -> tuple[list[ModelRow], list[ModelRow]]:
    """The models on offer, and those that no longer are. Three queries."""
    by_model = {one.deployment: one for one in health.deployments}
    dated = Prefetch("prices", ModelPrice.objects.select_related("created_by"))
    rows = (
        ModelDeployment.objects.filter(provider=row)
        .prefetch_related(dated)
        .order_by("embeds", "id")
    )
    without = unpriced_calls(row)
    for one in rows:
        one.provider = row
    found = [
        ModelRow(
            one,
            by_model.get(one.pk),
            shown_price(one, list(one.prices.all())),
            tuple(one.prices.all()),
            without.get(one.pk, 0),
        )
        for one in rows
    ]
    return (
        [one for one in found if not one.deployment.retired],
        [one for one in found if one.deployment.retired],
    )


def unpriced_calls(row: Provider) -> dict[int, int]:
    """How many answers of each model have no price yet. One query."""
    calls = LlmCall.objects.filter(
        workspace=row.workspace_id,
        deployment_id__in=ModelDeployment.objects.filter(provider=row).values("pk"),
        state=CallState.OK,
        cost=None,
    )
    found: dict[int, int] = {}
    for pk, number in calls.order_by().values_list("deployment_id").annotate(Count("pk")):
        found[pk or 0] = number
    return found


SOURCES = {
    "dated": "entered by an owner",
    "own": "entered by an owner",
    "free": "made inside this program",
    "list": "the public price list",
    "unknown": "",
}


def shown_price(one: ModelDeployment, dated: Sequence[ModelPrice]) -> Price:
    """The price in force, and by whose word."""
    found = price_of(one, dated=dated)
    if found.prices is None:
        return Price("unpriced", "")
    if found.source == "free":
        return Price("free", SOURCES["free"])
    text = unit_price(found.prices.tokens_in)
    if not one.embeds:
        text = f"{text} in, {unit_price(found.prices.tokens_out)} out"
    return Price(text, SOURCES[found.source])


def unit_price(value: float | Decimal) -> str:
    """US dollars per million tokens, exact under a cent: such prices exist."""
    amount = f"{value:.6f}".rstrip("0")
    return f"${amount}" if len(amount.partition(".")[2]) >= 2 else f"${value:,.2f}"


def days_of(row: Provider) -> SpendDays:
    """This month by day, of one provider. Two queries."""
    whole = spend_days(row.workspace)
    names = [row.name] if row.name in whole.names else []
    return replace(
        whole,
        names=names,
        cells={key: spent for key, spent in whole.cells.items() if key[1] == row.name},
        totals={name: whole.totals[name] for name in names},
    )


def batches_of(row: Provider) -> list[ProviderBatch]:
    """The newest batches at the provider. One query."""
    rows = ProviderBatch.objects.filter(deployment__provider=row).select_related("deployment")
    return list(rows.order_by("-id")[:SHOWN_BATCHES])


def changes_of(row: Provider) -> list[ChangeRow]:
    """What happened to one provider lately, newest first. Three queries."""
    every = recent_changes(row.workspace, limit=MOST_CHANGES)
    return [one for one in every if one.provider == row.name][:SHOWN_CHANGES]


def key_changer(row: Provider) -> str:
    """Who entered the present key, empty where that is not known. One query."""
    actions = ("provider.key_replaced", "provider.added", "provider.changed")
    events = AuditEvent.objects.filter(
        workspace=row.workspace_id, object_id=str(row.pk), action__in=actions
    ).select_related("actor")
    for event in events.order_by("-id")[:50]:
        entered = event.action != "provider.changed" or event.data.get("key_replaced")
        if entered and event.actor:
            return event.actor.name or event.actor.email
    return ""


def model_of(row: Provider, pk: int) -> ModelDeployment:
    """One model of a provider; raises :class:`NotFound`."""
    found = ModelDeployment.objects.filter(provider=row, pk=pk).first()
    if found is None:
        raise NotFound
    found.provider = row
    return found


def month_label() -> str:
    """The month that sums are of."""
    return f"{month_start():%B}"


def price_row(one: ModelDeployment, pk: int) -> ModelPrice:
    """One dated price of a model; raises :class:`NotFound`."""
    found = ModelPrice.objects.filter(deployment=one, pk=pk).first()
    if found is None:
        raise NotFound
    found.deployment = one
    return found


def strip_text(health: ProviderHealth) -> str:
    """The strip in words: "40 good, 2 slow, 1 failing, 5 without calls"."""
    counts = Counter(slot.state for slot in health.figures.strip)
    return (
        f"{counts['good']} good, {counts['slow']} slow, {counts['failing']} failing, "
        f"{counts['none']} without calls"
    )


def scopes_to_limit(workspace: Workspace) -> list[tuple[str, list[tuple[str, str]]]]:
    """Whose use can be limited, in groups with names: people, API keys, projects. Four queries."""
    people = User.objects.filter(memberships__workspace=workspace).order_by("email")
    keys = ApiKey.objects.filter(workspace=workspace, revoked_at=None).select_related("user")
    found = [place for place in places(workspace) if place.scope.startswith("project:")]
    groups = [
        ("People", [(f"user:{one.pk}", one.name or one.email) for one in people]),
        ("API keys", [(f"key:{one.pk}", f"{one.name} of {one.user}") for one in keys]),
        ("Projects", [(place.scope, place.name) for place in found]),
    ]
    return [(title, rows) for title, rows in groups if rows]
