"""Reads about providers, ready for pages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from django.db.models import Count, Prefetch, Q, QuerySet, Sum
from django.utils import timezone

from accounts.models import User, Workspace
from core.errors import NotFound
from core.figures import count_of, money, share, thousands
from providers.models import CallState, LlmCall, ModelDeployment, Provider, ProviderKind

DAY = timedelta(hours=24)


@dataclass(frozen=True)
class Use:
    """What a provider did in the last 24 hours; ``cost`` is ``None`` when it is unpriced."""

    calls: int = 0
    failed: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: Decimal | None = None

    @property
    def failed_text(self) -> str:
        """The share of calls that failed, in words."""
        return f"{share(self.failed / self.calls)} failed" if self.calls else "not in use"


@dataclass(frozen=True)
class ProviderRow:
    """A provider in the list."""

    provider: Provider
    state: str
    word: str
    models: str
    use: Use


def providers(workspace: Workspace) -> QuerySet[Provider]:
    """The workspace's providers with the models offered for new analyses. Two queries."""
    offered = ModelDeployment.objects.filter(retired=False)
    return Provider.objects.filter(workspace=workspace).prefetch_related(
        Prefetch("deployments", queryset=offered)
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


def use_by_provider(workspace: Workspace) -> dict[str, Use]:
    """The last 24 hours by provider name. One query."""
    rows = (
        LlmCall.objects.filter(workspace=workspace, sent_at__gte=timezone.now() - DAY)
        .values("provider")
        .annotate(
            calls=Count("id"),
            failed=Count("id", filter=Q(state__in=(CallState.FAILED, CallState.DOUBT))),
            sent=Sum("tokens_in"),
            answered=Sum("tokens_out"),
            spent=Sum("cost"),
        )
    )
    return {
        row["provider"]: Use(
            row["calls"], row["failed"], row["sent"], row["answered"], row["spent"]
        )
        for row in rows
    }


def provider_rows(workspace: Workspace) -> list[ProviderRow]:
    """The list of providers with state and use. Three queries."""
    use = use_by_provider(workspace)
    return [
        ProviderRow(
            row,
            *state_of(row),
            models=", ".join(item.model for item in row.deployments.all()),
            use=use.get(row.name, Use()),
        )
        for row in providers(workspace)
    ]


def figures(workspace: Workspace) -> list[dict[str, str]]:
    """Key figures of the workspace's calls. One query."""
    now = timezone.now()
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    today = Q(sent_at__gte=now - DAY)
    sums = LlmCall.objects.filter(
        workspace=workspace, sent_at__gte=min(month, now - DAY)
    ).aggregate(
        spent=Sum("cost", filter=Q(sent_at__gte=month)),
        unpriced=Count("id", filter=Q(cost=None, state=CallState.OK, sent_at__gte=month)),
        calls=Count("id", filter=today),
        failed=Count("id", filter=today & Q(state__in=(CallState.FAILED, CallState.DOUBT))),
        sent=Sum("tokens_in", filter=today),
        answered=Sum("tokens_out", filter=today),
    )
    unpriced, calls, failed = sums["unpriced"], sums["calls"], sums["failed"]
    tokens = f"{thousands(sums['sent'] or 0)} tokens in, {thousands(sums['answered'] or 0)} out"
    return [
        {
            "label": f"Spent in {now:%B}",
            "value": money(sums["spent"] or 0),
            "text": f"{count_of(unpriced, 'call')} unpriced" if unpriced else "Every call priced",
        },
        {"label": "Calls, 24 hours", "value": thousands(calls), "text": tokens},
        {
            "label": "Failed, 24 hours",
            "value": thousands(failed),
            "text": f"{share(failed / calls)} of calls" if calls else "No calls yet",
        },
    ]
