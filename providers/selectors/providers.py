"""Reads about providers, ready for pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Prefetch, QuerySet, Sum
from django.utils import timezone

from accounts.models import User, Workspace
from core.errors import NotFound
from core.figures import count_of, duration, money, share, thousands, when
from providers.models import LlmCall, ModelDeployment, Provider, ProviderKind
from providers.selectors.ceilings import short
from providers.selectors.happenings import SwitchFigures, switch_figures
from providers.selectors.health import ProviderHealth, provider_health
from providers.selectors.spend import MonthSpend, Spent, spend_by_provider

DAY = timedelta(hours=24)
STRIP_SIGNS = {"good": "", "slow": "w", "failing": "b", "none": "n"}
"""The classes of the strip's pieces."""


@dataclass(frozen=True)
class ProviderRow:
    """A provider in the list, with its last 24 hours and this month's spending."""

    provider: Provider
    models: str
    health: ProviderHealth
    spent: Spent

    @property
    def state(self) -> str:
        """The key of its state."""
        return self.health.state

    @property
    def rested(self) -> bool:
        """Whether every model it offers was taken out of use by hand."""
        models = self.health.deployments
        return bool(models) and all(model.by_hand for model in models)

    @property
    def resting(self) -> bool:
        """Whether a model it offers is left alone now."""
        return any(model.since is not None for model in self.health.deployments)

    @property
    def word(self) -> str:
        """Its state in words."""
        return "Rested by hand" if self.rested and self.state != "off" else self.health.word

    @property
    def note(self) -> str:
        """What stands under the state: when it is tried again, or since when it does badly."""
        if self.state == "resting" and self.health.next_probe:
            return f"Tried again at {within(self.health.next_probe)}"
        if self.state in ("down", "resting") and self.since:
            return f"Since {within(self.since)}"
        return ""

    @property
    def since(self) -> datetime | None:
        """Since when it does not answer, as far as is known."""
        return self.health.since or self.provider.checked_at

    @property
    def since_text(self) -> str:
        """The same in words, within a sentence."""
        return within(self.since)

    @property
    def reason(self) -> str:
        """Why, in a sentence."""
        return self.health.reason

    @property
    def strip(self) -> tuple[str, ...]:
        """The classes of the half-hours, oldest first."""
        return tuple(STRIP_SIGNS[slot.state] for slot in self.health.figures.strip)

    @property
    def strip_text(self) -> str:
        """The strip in words."""
        counts = Counter(slot.state for slot in self.health.figures.strip)
        return (
            f"Last 24 hours by half-hours: {counts['good']} good, {counts['slow']} slow, "
            f"{counts['failing']} failing, {counts['none']} without calls"
        )

    @property
    def typical(self) -> str:
        """The median answer."""
        return duration(self.health.figures.typical)

    @property
    def slowest(self) -> str:
        """What 1 answer in 20 is over."""
        slowest = self.health.figures.slowest
        return "no answers" if slowest is None else f"1 in 20 over {duration(slowest)}"

    @property
    def requests(self) -> str:
        """Requests of 24 hours."""
        return thousands(self.health.figures.calls)

    @property
    def failed(self) -> str:
        """How many of them failed."""
        figures = self.health.figures
        if figures.calls:
            return f"{share(figures.failed / figures.calls)} failed"
        return "none yet" if self.provider.enabled else "not in use"

    @property
    def cost(self) -> str:
        """This month's spending; what has no price is called so."""
        return money(self.spent.known)


def clock(moment: datetime | None) -> str:
    """A moment as exact as it is recent, in the server's time zone."""
    if moment is None:
        return "an unknown time"
    return when(timezone.localtime(moment), timezone.localtime())


def within(moment: datetime | None) -> str:
    """The same within a sentence: "yesterday 18:20"."""
    text = clock(moment)
    return text[:1].lower() + text[1:]


def providers(workspace: Workspace) -> QuerySet[Provider]:
    """The workspace's providers with the models offered for new analyses. Two queries."""
    return Provider.objects.filter(workspace=workspace).prefetch_related(
        Prefetch("deployments", queryset=ModelDeployment.objects.filter(retired=False))
    )


def provider(user: User, pk: int) -> Provider:
    """One provider by its address; raises :class:`NotFound` for strangers."""
    mine = Provider.objects.filter(workspace__memberships__user=user)
    offered = ModelDeployment.objects.filter(retired=False)
    found = (
        mine.select_related("workspace")
        .prefetch_related(Prefetch("deployments", queryset=offered))
        .filter(pk=pk)
        .first()
    )
    if found is None:
        raise NotFound
    return found


def state_of(provider: Provider) -> tuple[str, str]:
    """The state's key and word, from the last test."""
    if not provider.enabled:
        return "off", "Off"
    if provider.kind == ProviderKind.LOCAL or provider.check_ok:
        return "healthy", "Healthy"
    return ("untested", "Not tested") if provider.check_ok is None else ("down", "Not answering")


def provider_rows(
    workspace: Workspace, spent: Mapping[str, Spent] | None = None
) -> list[ProviderRow]:
    """The list of providers with state, use and cost. Nine queries at most."""
    health = provider_health(workspace)
    costs = spend_by_provider(workspace) if spent is None else spent
    return [
        ProviderRow(
            row,
            ", ".join(item.model for item in row.deployments.all()),
            health[row.pk],
            costs.get(row.name, Spent()),
        )
        for row in providers(workspace)
        if row.pk in health
    ]


def tokens_of_day(workspace: Workspace) -> tuple[int, int]:
    """Tokens in and out of the last 24 hours. One query."""
    sums = LlmCall.objects.filter(workspace=workspace, sent_at__gte=timezone.now() - DAY).aggregate(
        asked=Sum("tokens_in"), answered=Sum("tokens_out")
    )
    return sums["asked"] or 0, sums["answered"] or 0


def figures(
    workspace: Workspace, rows: Sequence[ProviderRow], month: MonthSpend
) -> list[dict[str, Any]]:
    """Key figures of the workspace's calls. Two queries."""
    return [
        _spent(month, rows),
        _requests(rows, tokens_of_day(workspace)),
        _failed(rows),
        _switched(switch_figures(workspace)),
    ]


def _spent(month: MonthSpend, rows: Sequence[ProviderRow]) -> dict[str, Any]:
    unpriced = sum(row.spent.unpriced for row in rows)
    text = f"{month.text}, {count_of(unpriced, 'call')} unpriced" if unpriced else month.text
    return {
        "label": f"Spent in {month.name}",
        "value": money(month.used),
        "unit": f"of {money(month.limit)}" if month.limit is not None else "",
        "percent": month.percent,
        "tone": month.tone,
        "text": text if month.used or unpriced else "Nothing spent yet",
    }


def _requests(rows: Sequence[ProviderRow], tokens: tuple[int, int]) -> dict[str, Any]:
    calls = sum(row.health.figures.calls for row in rows)
    return {
        "label": "Requests, 24 hours",
        "value": thousands(calls),
        "text": f"{short(tokens[0])} tokens in, {short(tokens[1])} out",
    }


def _failed(rows: Sequence[ProviderRow]) -> dict[str, Any]:
    calls = sum(row.health.figures.calls for row in rows)
    failed = sum(row.health.figures.failed for row in rows)
    recovered = sum(row.health.figures.recovered for row in rows)
    return {
        "label": "Attempts that failed",
        "value": thousands(failed),
        "unit": share(failed / calls) if calls else "",
        "text": f"{thousands(recovered)} failed once, then worked" if calls else "No calls yet",
    }


def _switched(switches: SwitchFigures) -> dict[str, Any]:
    if switches.last is None:
        text = "No model had to rest this week"
        return {"label": "Time to switch", "value": "–", "text": text}
    count = count_of(switches.count, "switch", "switches")
    return {
        "label": "Time to switch",
        "value": duration(switches.last),
        "unit": "last time",
        "text": f"{count} this week, slowest {duration(switches.slowest)}",
    }
