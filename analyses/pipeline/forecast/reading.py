"""What an analysis will ask of models, worked out from a sample before anything is asked.

The very requests of every stage are rendered and counted: those of reading with conversations of
the sample, the later ones with texts of the sample in the shapes and numbers their stages use.
Answers are not known beforehand: what the local engine says about the same conversations stands in
for them until the model's own answers are known (:class:`Observed`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analyses.pipeline.facets import FacetsParams, facets_request, typed_values
from analyses.pipeline.forecast import later
from analyses.pipeline.forecast.loads import (
    RETRIES,
    UNSEEN_ANSWER,
    Load,
    Material,
    Observed,
    Range,
    answer_tokens,
    as_seen,
    exactly,
    request_tokens,
    student,
)
from analyses.pipeline.local.reading import read_facets
from analyses.pipeline.prepare import PrepareParams, prepare_one
from analyses.pipeline.records import Source, Turn
from analyses.pipeline.shape import default_k

MOST_CHARACTERS = 60_000
"""Looked at from either end of a conversation: more than a model is ever given of it."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One conversation of the sample as it would be asked about.

    ``tokens_in`` is the whole request of reading it, 0 for one without text, which is not sent.
    ``size`` is the rough number of tokens kept with every conversation of the data set.
    """

    size: int
    tokens_in: int
    tokens_out: int
    statement: str
    title: str


@dataclass(frozen=True, slots=True)
class Population:
    """What the sample stands for: ``total`` conversations of ``mean_size`` rough tokens.

    ``mean_size`` is ``None`` where it is not known, as of a part of a data set.
    """

    total: int
    mean_size: float | None = None
    clusters: int | None = None


def probe(source: Source, size: int, params: FacetsParams, embed_facet: str) -> Probe:
    """Render the request that reads a conversation, and let the local engine stand in."""
    prepared = prepare_one(bounded(source), PrepareParams())
    if not any(turn.text.strip() for turn in prepared.turns):
        return Probe(size, 0, 0, "", "")
    request = facets_request(prepared, params)
    answer = read_facets(request.payload)
    values = typed_values(answer, params.facets) or {}
    said = [str(values.get(key) or "") for key in (embed_facet, "summary", "request")]
    statement = next((text for text in said if text), "")
    return Probe(size, request_tokens(request), answer_tokens(answer), statement, said[-1])


def bounded(source: Source) -> Source:
    """A conversation without its far middle, which is never sent: a monster costs no time."""
    if sum(len(turn.text) for turn in source.turns) <= 2 * MOST_CHARACTERS:
        return source
    head = _some(source.turns)
    rest = source.turns[len(head) :]
    tail = _some(rest[::-1])[::-1]
    return Source(source.position, (*head, *tail), source.user, source.started_at)


def _some(turns: Sequence[Turn]) -> list[Turn]:
    kept: list[Turn] = []
    room = MOST_CHARACTERS
    for turn in turns:
        if room <= 0:
            break
        kept.append(Turn(turn.role, turn.text[:room], turn.at))
        room -= len(turn.text)
    return kept


def forecast(
    probes: Sequence[Probe],
    population: Population,
    observed: Mapping[str, Observed],
    statements: Sequence[str] = (),
) -> list[Load]:
    """The loads of reading, vectors, names, hierarchy and privacy, in their order.

    ``statements`` are texts that the model itself wrote about conversations like these, where
    there are any. An empty sample gives empty loads.
    """
    if not probes or not population.total:
        return [Load(key, Range(), Range(), Range()) for key in KEYS]
    texts = list(statements) or [probe.statement for probe in probes if probe.statement] or [""]
    material = Material(texts, observed)
    reading = _reading(probes, population, observed.get("facets"))
    read = round(reading.calls.likely)
    clusters = min(population.clusters or default_k(read), max(1, read))
    return [
        reading,
        later.vectors(read, material),
        later.names(read, clusters, material),
        *later.tree(clusters, material),
    ]


KEYS = ("facets", "embeddings", "names", "hierarchy", "privacy")
"""Purposes of calls, which are also the stages of an estimate."""


# reading -----------------------------------------------------------------------------------------


def _reading(probes: Sequence[Probe], population: Population, seen: Observed | None) -> Load:
    sent = [probe for probe in probes if probe.tokens_in]
    share = len(sent) / len(probes)
    calls = exactly(population.total * share)
    asked = _mean(probes, [probe.tokens_in for probe in probes], population)
    tokens_in = Range(asked[0] - asked[1], asked[0], asked[0] + asked[1]).times(population.total)
    if seen is None:
        said = _mean(probes, [probe.tokens_out for probe in probes], population)
        each = Range(said[0] - said[1], said[0], said[0] + said[1])
        tokens_out = each.times(population.total).widened(UNSEEN_ANSWER, UNSEEN_ANSWER)
    else:
        tokens_out = as_seen(seen, calls)
    return Load(
        "facets",
        Range(calls.low, calls.likely, calls.high * (1 + RETRIES)),
        tokens_in.widened(0, RETRIES),
        tokens_out.widened(0, RETRIES),
    )


def _mean(
    probes: Sequence[Probe], values: Sequence[int], population: Population
) -> tuple[float, float]:
    """Mean of the population and half the width of its 95 % interval, from a spread sample.

    Where the mean size of all conversations is known, a regression on size takes out what the
    sample has too much or too little of (Cochran, Sampling Techniques, 1977, chapter 7).
    """
    y = np.array(values, dtype=np.float64)
    x = np.array([probe.size for probe in probes], dtype=np.float64)
    count = len(y)
    mean, rest, freedom = float(y.mean()), y - y.mean(), count - 1
    if population.mean_size is not None and count > 2 and x.std() > 0:
        slope = float(((x - x.mean()) * rest).sum() / ((x - x.mean()) ** 2).sum())
        mean += slope * (population.mean_size - float(x.mean()))
        rest, freedom = rest - slope * (x - x.mean()), count - 2
    if freedom < 1:
        return max(mean, 0.0), 0.0 if population.total <= count else abs(mean)
    missing = max(0.0, 1 - count / population.total)
    error = math.sqrt(float((rest**2).sum()) / freedom / count * missing)
    return max(mean, 0.0), student(freedom) * error
