"""What a new analysis can be made of, and what it would cost and take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from analyses.selectors.estimates import Estimate
from analyses.selectors.estimating import Question, estimates_of, local_estimate
from analyses.selectors.plans import Plans, plans_for
from core.errors import Invalid
from projects.models import Dataset, DatasetStatus, Project
from providers.models import ModelDeployment, ProviderKind, Purpose
from providers.selectors.routes import route_plans
from templates_app.models import TemplateVersion

ROUTE = "route"
"""Stands for the workspace's order where else a model's primary key does."""

LOCAL = "local"
"""Stands for the local engine where a model is named to go on with."""

NAMED = 3
"""Models of a route that are named."""

MAX_DIGITS = 10
"""Longer numbers name no data set."""


@dataclass(frozen=True, slots=True)
class Option:
    """Something that can read the conversations."""

    value: str
    name: str
    text: str
    estimate: Estimate | None
    batches: bool = False
    """Whether it can read in batches, for half the price."""


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


def options_for(
    project: Project, question: Question | None, embedding: ModelDeployment | None = None
) -> list[Option]:
    """The workspace's order, the local engine, then every model, each with its estimate."""
    models = list(deployments_for(project))
    expected = estimates_of(question, models, embedding) if question else {}
    local = Option(
        "",
        "Local engine",
        "No key needed. Reads with rules and word statistics on this machine.",
        local_estimate(question.count) if question else None,
    )
    rows = [
        Option(str(row.pk), row.provider.name, row.model, expected.get(row.pk), row.offers_batches)
        for row in models
    ]
    return [*_in_order(project, expected), local, *rows]


def _in_order(project: Project, expected: Mapping[int, Estimate]) -> list[Option]:
    """The workspace's order, if a model may read by it; its first model gives the estimate."""
    plans = route_plans(project.workspace)
    readers = plans[Purpose.FACETS].usable
    if not readers:
        return []
    names = [str(target.deployment) for target in readers[:NAMED]]
    more = f" and {len(readers) - NAMED} more" if len(readers) > NAMED else ""
    text = f"Read by {', then '.join(names)}{more}; every step as set under Providers."
    first = readers[0].deployment
    order = "In the workspace's order"
    return [Option(ROUTE, order, text, expected.get(first.pk), first.offers_batches)]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a person has chosen so far; ``reader`` is a model's primary key, "" the local engine,
    :data:`ROUTE` the workspace's order."""

    dataset: Dataset | None
    version: TemplateVersion | None
    reader: str = ""
    embedding: ModelDeployment | None = None
    limit: int | None = None
    sampled: bool = False
    budget: Decimal | None = None
    bulk: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """What the page for a new analysis shows of a choice."""

    dataset: Dataset | None
    options: list[Option]
    chosen: Option
    plans: Plans | None

    @property
    def suggested(self) -> Decimal | None:
        """The spending limit proposed for what is chosen."""
        return self.chosen.estimate.suggested_limit if self.chosen.estimate else None


def offer_for(project: Project, chosen: Chosen) -> Offer:
    """Who could read, what each would cost and take, and what a budget buys."""
    version = chosen.version or next(iter(versions_for(project)), None)
    question = None
    if chosen.dataset and version:
        question = Question(
            chosen.dataset,
            version,
            limit=chosen.limit,
            sampled=chosen.sampled,
            batched=chosen.bulk,
        )
    options = options_for(project, question, chosen.embedding)
    plans = None
    if question and chosen.budget:
        models = list(deployments_for(project))
        plans = plans_for(question, models, chosen.embedding, chosen.budget)
    local = next(row for row in options if not row.value)
    option = next((row for row in options if row.value == chosen.reader), local)
    return Offer(chosen.dataset, options, option, plans)


def choice_of(
    project: Project,
    dataset: int,
    template: str,
    provider: UUID | None,
    fallback: UUID | None = None,
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
    other = _offered(project, fallback, embeds=False)
    if fallback and other is None:
        wrong["fallback"] = "There is no such provider that is switched on."
    if wrong:
        raise Invalid(fields=wrong)
    return {
        "dataset": found,
        "template_version": version,
        "chat": chat,
        "embedding": _offered(project, provider, embeds=True),
        "fallback": other,
    }


def estimate_of(
    chosen: dict[str, Any], *, limit: int | None, sampled: bool, batched: bool = False
) -> Estimate:
    """The estimate of what :func:`choice_of` found."""
    question = Question(
        chosen["dataset"],
        chosen["template_version"],
        limit=limit,
        sampled=sampled,
        batched=batched,
    )
    if chosen["chat"] is None:
        return local_estimate(question.count)
    return estimates_of(question, [chosen["chat"]], chosen["embedding"])[chosen["chat"].pk]


def _offered(project: Project, provider: UUID | None, *, embeds: bool) -> ModelDeployment | None:
    """The first model of a provider that the project may use; ``None`` for the local engine."""
    if provider is None:
        return None
    return deployments_for(project, embeds=embeds).filter(provider__uid=provider).first()
