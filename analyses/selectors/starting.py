"""What a new analysis can be made of, and what it would roughly cost and take."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from core import figures
from core.errors import Invalid
from projects.models import Dataset, DatasetStatus, Project
from providers.models import ModelDeployment, ProviderKind
from templates_app.models import TemplateVersion

PROMPT_TOKENS = 900
"""Tokens of instructions and schema sent with every conversation."""
ANSWER_TOKENS = 260
"""Tokens of a usual answer to all facets."""
OVERHEAD = Decimal("1.12")
"""Naming, arranging and checking clusters on top of reading."""
SPREAD = (Decimal("0.8"), Decimal("1.4"))
"""Low and high end of the cost, as factors."""
CALL_SECONDS = (1.0, 5.0)
"""A structured answer of a hosted model, fast and slow."""
LOCAL_PER_SECOND = (60.0, 400.0)
"""Conversations the local engine reads on one to four cores, slow and fast."""
FIXED_SECONDS = (4.0, 20.0)
"""Clustering, arranging and drawing at the end, small and large."""

MAX_DIGITS = 10
"""Longer numbers name no data set."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Rough cost in US dollars and time in seconds; ``None`` cost means unpriced."""

    low: Decimal | None
    high: Decimal | None
    seconds: tuple[float, float]

    @property
    def cost(self) -> str:
        """The cost in words."""
        if self.low is None or self.high is None:
            return "unpriced"
        if not self.high:
            return "costs nothing"
        return f"{figures.money(self.low)} to {figures.money(self.high)}"

    @property
    def time(self) -> str:
        """The time in words."""
        low, high = (figures.duration(max(10, value)) for value in self.seconds)
        return low if low == high else f"{low} to {high}"


@dataclass(frozen=True, slots=True)
class Option:
    """Something that can read the conversations."""

    value: str
    name: str
    text: str
    estimate: Estimate | None


def datasets_of(project: Project) -> QuerySet[Dataset]:
    """Data sets that can be analysed, newest first."""
    return Dataset.objects.filter(
        project=project, status=DatasetStatus.READY, conversation_count__gt=0
    )


def unready(project: Project, number: str) -> Dataset | None:
    """The data set of this number if it cannot be analysed (yet). One query."""
    if not (number.isascii() and number.isdecimal() and len(number) < MAX_DIGITS):
        return None
    found = Dataset.objects.filter(project=project, number=int(number)).first()
    ready = found is not None and found.status == DatasetStatus.READY and found.conversation_count
    return None if ready else found


def versions_for(project: Project) -> list[TemplateVersion]:
    """The newest version of every template the project may use. One query."""
    belongs = Q(template__workspace=None) | Q(template__workspace=project.workspace)
    rows = TemplateVersion.objects.filter(belongs).select_related("template")
    newest = {row.template_id: row for row in rows.order_by("template_id", "number")}
    return list(newest.values())


def deployments_for(project: Project, *, embeds: bool = False) -> QuerySet[ModelDeployment]:
    """Models of the workspace's providers that are switched on; the local engine is none."""
    rows = ModelDeployment.objects.filter(
        provider__workspace=project.workspace,
        provider__enabled=True,
        embeds=embeds,
        retired=False,
    )
    return rows.exclude(provider__kind=ProviderKind.LOCAL).select_related("provider")


def estimate(dataset: Dataset, deployment: ModelDeployment | None, limit: int | None) -> Estimate:
    """Rough cost and time of reading ``limit`` conversations, or all."""
    count = min(limit or dataset.conversation_count, dataset.conversation_count)
    if deployment is None:
        slow, fast = LOCAL_PER_SECOND
        seconds = (count / fast + FIXED_SECONDS[0], count / slow + FIXED_SECONDS[1])
        return Estimate(Decimal(0), Decimal(0), seconds)
    rounds = count / deployment.provider.concurrency
    seconds = (
        rounds * CALL_SECONDS[0] + FIXED_SECONDS[0],
        rounds * CALL_SECONDS[1] + FIXED_SECONDS[1],
    )
    cost = _cost(dataset, deployment, count)
    low, high = (None, None) if cost is None else (cost * SPREAD[0], cost * SPREAD[1])
    return Estimate(low, high, seconds)


def _cost(dataset: Dataset, deployment: ModelDeployment, count: int) -> Decimal | None:
    if deployment.price_in is None or deployment.price_out is None:
        return None
    text = dataset.token_count * count // max(1, dataset.conversation_count)
    sent = Decimal(text + count * PROMPT_TOKENS)
    answered = Decimal(count * ANSWER_TOKENS)
    million = Decimal(1_000_000)
    return OVERHEAD * (sent * deployment.price_in + answered * deployment.price_out) / million


def options_for(project: Project, dataset: Dataset | None, limit: int | None) -> list[Option]:
    """The local engine first, then every model, each with its estimate for the data set."""
    local = Option(
        "",
        "Local engine",
        "No key needed. Reads with rules and word statistics on this machine.",
        estimate(dataset, None, limit) if dataset else None,
    )
    models = [
        Option(
            str(row.pk),
            row.provider.name,
            row.model,
            estimate(dataset, row, limit) if dataset else None,
        )
        for row in deployments_for(project)
    ]
    return [local, *models]


def choice_of(
    project: Project, dataset: int, template: str, provider: UUID | None
) -> dict[str, Any]:
    """What an analysis is started with, by the numbers and keys a program knows.

    Raises :class:`Invalid` naming what is not offered in this project.
    """
    version = next((row for row in versions_for(project) if row.template.key == template), None)
    found = Dataset.objects.filter(project=project, number=dataset).first()
    chat = _offered(project, provider, embeds=False)
    wrong = {}
    if found is None:
        wrong["dataset"] = "There is no such data set in this project."
    if version is None:
        wrong["template"] = "There is no such template."
    if provider and chat is None:
        wrong["provider"] = "There is no such provider that is switched on."
    if wrong:
        raise Invalid(fields=wrong)
    return {
        "dataset": found,
        "template_version": version,
        "chat": chat,
        "embedding": _offered(project, provider, embeds=True),
    }


def _offered(project: Project, provider: UUID | None, *, embeds: bool) -> ModelDeployment | None:
    """The first model of a provider that the project may use; ``None`` for the local engine."""
    if provider is None:
        return None
    return deployments_for(project, embeds=embeds).filter(provider__uid=provider).first()
