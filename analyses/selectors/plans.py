"""The best analysis for an amount of money: which model, how many conversations, how sure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from analyses.selectors.estimates import Estimate
from analyses.selectors.estimating import (
    Question,
    estimate_from,
    local_estimate,
    probes_of,
    rates_of,
)
from analyses.selectors.history import History, history_of
from core import figures
from providers.models import ModelDeployment

FEWEST = 50
"""Conversations under which there is no picture worth drawing."""
SHARE = 0.10
"""The share of a group for which the margin of a sample is told."""
MOST_PLANS = 3
STEPS = 6
"""Corrections of the sample's size; reading is linear in it, the rest nearly so."""
Z = 1.96


@dataclass(frozen=True, slots=True)
class Plan:
    """One way to spend the money. ``model`` is ``None`` for the local engine.

    ``limit`` is ``None`` when every conversation is read, else the size of a spread sample.
    """

    model: ModelDeployment | None
    limit: int | None
    estimate: Estimate
    total: int
    why: str

    @property
    def value(self) -> str:
        """The choice as the form sends it."""
        return f"{self.model.pk if self.model else ''}:{self.limit or ''}"

    @property
    def name(self) -> str:
        """Who reads."""
        return str(self.model) if self.model else "Local engine"

    @property
    def reads(self) -> str:
        """How much is read, in words."""
        if self.limit is None:
            return f"All {figures.count_of(self.total, 'conversation')}"
        return f"{self.limit:,} of {self.total:,} conversations, spread over all"

    @property
    def margin(self) -> str:
        """How firm a share is, in words; nothing when all are read."""
        if self.limit is None:
            return ""
        low, high = wilson(SHARE, self.limit)
        return (
            f"A group of {figures.share(SHARE)} comes out between {figures.share(low)} and "
            f"{figures.share(high)}."
        )


@dataclass(frozen=True, slots=True)
class Plans:
    """Up to three plans, and what to say when no model fits."""

    budget: Decimal
    plans: Sequence[Plan]
    smallest: str = ""


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share seen in ``count`` conversations (Wilson 1927)."""
    spread = Z * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    middle, scale = share + Z**2 / (2 * count), 1 + Z**2 / count
    return (middle - spread) / scale, (middle + spread) / scale


def plans_for(
    question: Question,
    models: Sequence[ModelDeployment],
    embedding: ModelDeployment | None,
    budget: Decimal,
) -> Plans:
    """The plans for a budget in US dollars, best first; their high ends stay within it.

    Unpriced models are left out: nothing can be promised of them. Four queries and up to five
    for every model with a history here.
    """
    asked = _Asked(question, models, embedding) if models else None
    fitting: list[Plan] = []
    smallest: list[tuple[Estimate, ModelDeployment]] = []
    for model in models if asked else ():
        assert asked is not None
        plan = asked.plan(model, budget)
        if plan is not None:
            fitting.append(plan)
        elif (least := asked.at(model, FEWEST)).spend is not None:
            smallest.append((least, model))
    whole = question.dataset.conversation_count
    chosen = _chosen(fitting)
    if len(chosen) < MOST_PLANS:
        why = "Costs nothing, but groups by words instead of understanding what was said."
        chosen.append(Plan(None, None, local_estimate(whole), whole, why))
    return Plans(budget, chosen, "" if fitting else _smallest(smallest, whole))


def _chosen(fitting: Sequence[Plan]) -> list[Plan]:
    """Those that read everything, the dearest model first; then samples, the largest first."""

    def rank(plan: Plan) -> tuple[bool, Decimal | int]:
        spend = plan.estimate.spend
        price = -spend.likely if spend and plan.limit is None else Decimal(0)
        return plan.limit is not None, price if plan.limit is None else -plan.limit

    ranked = sorted(fitting, key=rank)
    return [replace(plan, why=_why(plan, ranked)) for plan in ranked[:MOST_PLANS]]


def _why(plan: Plan, ranked: Sequence[Plan]) -> str:
    whole = [other for other in ranked if other.limit is None]
    if plan.limit is None:
        if plan is whole[0]:
            return "The dearest model that reads everything for this money."
        return "Reads everything for less."
    if whole or plan is not ranked[0]:
        return "A dearer model on a sample: closer reading, less of it."
    return "Reads the most that this money buys."


def _smallest(found: Sequence[tuple[Estimate, ModelDeployment]], total: int) -> str:
    """What the smallest analysis by a model would cost, in words."""
    if not found:
        return ""
    least, model = min(found, key=lambda pair: pair[0].spend or ())
    return (
        f"No model fits. The smallest analysis worth its name, {min(FEWEST, total):,} conversations "
        f"with {model}, costs {least.cost}."
    )


class _Asked:
    """One rendered sample and the histories, from which any size can be estimated."""

    def __init__(
        self,
        question: Question,
        models: Sequence[ModelDeployment],
        embedding: ModelDeployment | None,
    ) -> None:
        dataset, project = question.dataset, question.dataset.project
        self._total = dataset.conversation_count
        self._question = replace(question, limit=None, sampled=True)
        self._embedding = embedding
        self._rates = rates_of(models, embedding)
        self._sample = probes_of(dataset, question.version, self._total, project.language)
        self._known: Mapping[int, History] = history_of(
            project.workspace_id, models, question.version
        )

    def at(self, model: ModelDeployment, count: int) -> Estimate:
        """The estimate of so many conversations."""
        known = self._known.get(model.pk, History())
        question = replace(self._question, limit=count)
        return estimate_from(question, self._sample, model, self._embedding, known, self._rates)

    def plan(self, model: ModelDeployment, budget: Decimal) -> Plan | None:
        """The most that a model can read for the budget; ``None`` when that is too little."""
        count, low, high = self._total, 0, self._total
        for _ in range(STEPS):
            spend = self.at(model, count).spend
            if spend is None:
                return None
            if spend.high <= budget:
                low = count
                if count == self._total:
                    break
            else:
                high = count - 1
            share = float(budget / spend.high) if spend.high else 1.0
            count = max(low + 1, min(high, int(count * share)))
            if low >= high:
                break
        size = self._total if low == self._total else _rounded(low)
        if size < min(FEWEST, self._total):
            return None
        limit = None if size == self._total else size
        return Plan(model, limit, self.at(model, size), self._total, "")


def _rounded(count: int) -> int:
    """Two leading digits: a sample of 1,738 is called 1,700."""
    step: int = 10 ** max(0, len(str(count)) - 2)
    return count // step * step
