"""Estimates before the start, from prompts rendered on a sample of the data set.

Tokens come from the very prompts (:mod:`analyses.pipeline.forecast`); lengths and delays of
answers from the model's own history in this workspace, where it has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from analyses.pipeline.facets import FacetsParams
from analyses.pipeline.forecast import Load, Population, Probe, Range, forecast, probe
from analyses.plan import past
from analyses.selectors.asked import facets_of, left_out, source_of
from analyses.selectors.estimates import Cost, Estimate, StageEstimate, ends
from analyses.selectors.history import History, history_of
from core import figures
from projects.models import Conversation, Dataset
from providers.models import ModelDeployment
from providers.prices import MILLION, UnitPrices
from providers.selectors.prices import prices_of
from templates_app.models import TemplateVersion

SAMPLE = 50
"""Conversations whose prompts are rendered."""
SAMPLE_LEAST = 12
SAMPLE_TOKENS = 60_000
"""Text rendered at most: of a data set of meetings the sample is smaller."""

CALL_SECONDS = Range(1.0, 2.0, 5.0)
"""A structured answer of a hosted model, until this one's own delays are known."""
LOCAL_PER_SECOND = Range(60.0, 150.0, 400.0)
"""Conversations the local engine reads on one to four cores, slow and fast."""
FIXED_SECONDS = Range(3.0, 8.0, 20.0)
"""Starting, clustering, arranging and drawing, whatever the number of conversations."""
NUMBERS_SECONDS = Range(0.0004, 0.001, 0.002)
"""Preparing, clustering and drawing one conversation on this machine."""

Rates = Mapping[int, UnitPrices | None]
"""What models cost, by primary key; ``None`` where nobody knows."""


# the sample --------------------------------------------------------------------------------------


def probes_of(dataset: Dataset, version: TemplateVersion, count: int, language: str) -> list[Probe]:
    """Rendered requests of conversations spread over the first ``count`` of a data set.

    Deleted ones do not count. Three queries, four where some are deleted; always the same
    conversations; never more than :data:`SAMPLE_TOKENS` of text in the mean.
    """
    params = FacetsParams(
        facets=facets_of(version), output_language=language, instructions=version.instructions
    )
    place = past(left_out(dataset))
    wanted = [place(nth) for nth in spread(count, _sample_size(dataset, count))]
    rows = Conversation.objects.filter(
        dataset=dataset, position__in=wanted, deleted_at=None
    ).order_by("position")
    return [probe(source_of(row), row.token_count, params, version.embed_facet) for row in rows]


def spread(count: int, wanted: int) -> list[int]:
    """Positions evenly spread over ``count``."""
    wanted = min(wanted, count)
    return sorted({int((i + 0.5) * count / wanted) for i in range(wanted)})


def _sample_size(dataset: Dataset, count: int) -> int:
    mean = max(1, dataset.token_count // max(1, dataset.conversation_count))
    return min(count, max(SAMPLE_LEAST, min(SAMPLE, SAMPLE_TOKENS // mean)))


# the estimate ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be estimated. ``limit`` conversations at most; ``spread_sample`` of all of them.

    ``concurrency`` replaces the provider's own number of calls at once.
    """

    dataset: Dataset
    version: TemplateVersion
    limit: int | None = None
    clusters: int | None = None
    concurrency: int | None = None
    sampled: bool = False
    batched: bool = False
    """Conversations are read in the provider's batches, where the model offers them."""

    @property
    def count(self) -> int:
        """Conversations that would be read."""
        return min(self.limit or self.dataset.conversation_count, self.dataset.conversation_count)

    @property
    def reach(self) -> int:
        """Positions among which the rendered ones are spread."""
        return self.dataset.conversation_count if self.sampled else self.count

    @property
    def population(self) -> Population:
        """What the rendered conversations stand for."""
        whole = self.reach == self.dataset.conversation_count
        mean = self.dataset.token_count / max(1, self.dataset.conversation_count)
        return Population(self.count, mean if whole else None, self.clusters)


def estimates_of(
    question: Question,
    models: Sequence[ModelDeployment],
    embedding: ModelDeployment | None = None,
) -> dict[int, Estimate]:
    """An estimate for every model, by primary key, from one sample.

    Five queries and up to six for every model with a history here.
    """
    if not models:
        return {}
    project = question.dataset.project
    sample = probes_of(question.dataset, question.version, question.reach, project.language)
    known = history_of(project.workspace_id, models, question.version)
    rates = rates_of(models, embedding)
    return {
        model.pk: estimate_from(
            question, sample, model, embedding, known.get(model.pk, History()), rates
        )
        for model in models
    }


def rates_of(models: Sequence[ModelDeployment], embedding: ModelDeployment | None) -> Rates:
    """What the models of a question cost now. One query."""
    return prices_of([*models, embedding] if embedding else models)


def local_estimate(count: int) -> Estimate:
    """The local engine: costs nothing, and as long as this machine takes."""
    seconds = Range(
        count / LOCAL_PER_SECOND.high + FIXED_SECONDS.low,
        count / LOCAL_PER_SECOND.likely + FIXED_SECONDS.likely,
        count / LOCAL_PER_SECOND.low + FIXED_SECONDS.high,
    )
    return Estimate(count, 0, (), seconds)


def estimate_from(
    question: Question,
    sample: Sequence[Probe],
    model: ModelDeployment,
    embedding: ModelDeployment | None,
    known: History,
    rates: Rates,
) -> Estimate:
    """The estimate for one model from a rendered sample and what is known of the model."""
    loads = forecast(sample, question.population, known.observed, known.statements)
    stages = tuple(
        _stage(load, embedding if load.key == "embeddings" else model, known.scale, rates)
        for load in loads
        if load.key != "embeddings" or embedding is not None
    )
    concurrency = question.concurrency or model.provider.concurrency
    latency = known.latency or CALL_SECONDS
    estimate = Estimate(
        conversations=question.count,
        sampled=len(sample),
        stages=stages,
        seconds=_seconds(loads, latency, concurrency) + NUMBERS_SECONDS.times(question.count),
        after=_seconds(loads[1:], latency, concurrency),
        scale=known.scale,
        notes=_notes(len(sample), known, concurrency),
    )
    return estimate.in_batches() if question.batched and model.offers_batches else estimate


def _stage(load: Load, model: ModelDeployment | None, scale: float, rates: Rates) -> StageEstimate:
    tokens_in = load.tokens_in.times(scale)
    cost = _cost(rates.get(model.pk) if model else None, tokens_in, load.tokens_out)
    return StageEstimate(load.key, load.calls, tokens_in, load.tokens_out, cost)


def _cost(prices: UnitPrices | None, tokens_in: Range, tokens_out: Range) -> Cost | None:
    if prices is None:
        return None
    each_in, each_out = Decimal(str(prices.tokens_in)), Decimal(str(prices.tokens_out))
    pairs = zip(ends(tokens_in), ends(tokens_out), strict=True)
    return Cost(*((round(a) * each_in + round(b) * each_out) / Decimal(MILLION) for a, b in pairs))


def _seconds(loads: Sequence[Load], latency: Range, concurrency: int) -> Range:
    """Stages follow each other; within one, ``concurrency`` calls run side by side."""
    total = FIXED_SECONDS
    for load in loads:
        waits = [
            max(calls / concurrency, load.rounds if calls else 0) * delay
            for calls, delay in zip(ends(load.calls), ends(latency), strict=True)
        ]
        total += Range(*waits)
    return total


def _notes(sampled: int, known: History, concurrency: int) -> tuple[str, ...]:
    answers = (
        f"Answers as long as the {known.answers:,} that this model gave before."
        if known.observed
        else "How long this model's answers are is not known yet; those of the local engine stand in."
    )
    delay = (
        f"{figures.count_of(concurrency, 'call')} at once, each as slow as before."
        if known.latency
        else f"{figures.count_of(concurrency, 'call')} at once, each taken to last "
        f"{CALL_SECONDS.low:.0f} to {CALL_SECONDS.high:.0f} s."
    )
    asked = f"The prompts of {figures.count_of(sampled, 'conversation')} were counted."
    return asked, answers, delay
