"""Names and descriptions of the base clusters, then one pass that tells like names apart."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from analyses.pipeline.base import CallFailed, Context, StageParams
from analyses.pipeline.inflight import as_answered
from analyses.pipeline.local.names import distinguishing, keyphrase_name
from analyses.pipeline.name_prompts import RENAME_BATCH, name_request, rename_request
from analyses.pipeline.name_rules import (
    clean_description,
    clean_name,
    flagged,
    set_apart,
    too_similar,
)
from analyses.pipeline.records import ClusterText, NameInputs

Rows = npt.NDArray[np.int64]

NEIGHBOURS = 6
"""Neighbouring clusters searched for the nearest outsiders."""

CANDIDATES = 100
"""Rows looked at in each of them."""

FLAGGED = "flagged"
"""Why a name was replaced that held a link or spoke to the reader."""

EXAMPLES = 5
"""Members shown for each group of too similar names."""


class NameParams(StageParams):
    """How many members and outsiders a model sees, and how often like names are redone."""

    members: int = Field(default=50, ge=1, le=500)
    outsiders: int = Field(default=50, ge=0, le=500)
    rounds: int = Field(default=2, ge=0, le=5)


class NameStage:
    """Names every base cluster; a later record of the same index replaces the earlier one."""

    key: ClassVar[str] = "name"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("embed", "cluster")
    Params: ClassVar[type[StageParams]] = NameParams

    def __init__(self, params: NameParams | None = None) -> None:
        self.params = params or NameParams()

    async def run(self, inputs: NameInputs, context: Context) -> AsyncIterator[ClusterText]:
        """Yield a :class:`ClusterText` per cluster as answers come, then the renamed ones.

        A failed call leaves a keyphrase name with ``failed`` set; a fatal one is raised.
        """
        count = len(inputs.centroids)
        context.check()
        samples = await context.compute(draw_samples, inputs, self.params, context.seed)

        async def ask(index: int) -> ClusterText:
            return await _named(index, samples[index], context)

        texts: dict[int, ClusterText] = {}
        async for text in as_answered(range(count), ask, context):
            texts[text.index] = text
            yield text
            context.report(len(texts), count)
        for _ in range(self.params.rounds):
            renamed = await _rename_round(texts, samples, context)
            if not renamed:
                break
            for text in renamed:
                texts[text.index] = text
                yield text
        for text in _forced_apart(texts, samples):
            yield text


Sample = Mapping[str, Any]


def draw_samples(inputs: NameInputs, params: NameParams, seed: int) -> list[Sample]:
    """The payload of every cluster's request: random members, nearest outsiders, hints, size.

    Rows are grouped by one sort; outsiders come from clusters with neighbouring centroids only,
    so the cost grows with the number of clusters, not with clusters times rows.
    """
    groups = group_rows(inputs.labels, len(inputs.centroids))
    closeness = np.asarray(inputs.centroids) @ np.asarray(inputs.centroids).T
    samples: list[Sample] = []
    for index, rows in enumerate(groups):
        rng = np.random.default_rng([seed, index])
        members = _some(rows, params.members, rng)
        outsiders = _outsiders(index, groups, closeness[index], inputs, params.outsiders, rng)
        samples.append(
            {
                "members": [inputs.texts[i] for i in members],
                "outsiders": [inputs.texts[i] for i in outsiders],
                "hints": [inputs.hints[i] for i in members],
                "member_hints": [inputs.hints[i] for i in members],
                "outsider_hints": [inputs.hints[i] for i in outsiders],
                "size": len(rows),
            }
        )
    return samples


def group_rows(labels: npt.NDArray[np.int32], count: int) -> list[Rows]:
    """Rows of each cluster, ascending; rows of the rest bin are in none."""
    order = np.argsort(labels, kind="stable")
    borders = np.searchsorted(labels[order], np.arange(count + 1))
    return [order[borders[i] : borders[i + 1]] for i in range(count)]


def _some(rows: Rows, limit: int, rng: np.random.Generator) -> Rows:
    if len(rows) <= limit:
        return rows
    return np.sort(rng.choice(rows, limit, replace=False))


def _outsiders(
    index: int,
    groups: Sequence[Rows],
    closeness: npt.NDArray[np.float32],
    inputs: NameInputs,
    limit: int,
    rng: np.random.Generator,
) -> Rows:
    """The rows of neighbouring clusters that lie closest to cluster ``index``."""
    ranked = np.argsort(-closeness, kind="stable")
    near = [int(other) for other in ranked if other != index][:NEIGHBOURS]
    if not near or not limit:
        return np.zeros(0, dtype=np.int64)
    rows = np.concatenate([_some(groups[other], CANDIDATES, rng) for other in near])
    scores = np.asarray(inputs.vectors[rows]) @ np.asarray(inputs.centroids[index])
    return rows[np.argsort(-scores, kind="stable")[:limit]]


async def _named(index: int, sample: Sample, context: Context) -> ClusterText:
    """One cluster's text from the model, or from keyphrases when the call fails."""
    try:
        answer = await context.chat(name_request(sample))
    except CallFailed as error:
        if error.fatal:
            raise
        context.log.warning("naming of cluster %d failed: %s", index, error.error_class)
        return _fallback(index, sample, error.error_class)
    said = str(answer.data.get("name", "")), str(answer.data.get("description", ""))
    if flagged(said[0]) or flagged(said[1]):
        return _fallback(index, sample, FLAGGED)
    name = clean_name(said[0])
    if not name:
        return _fallback(index, sample, "bad_answer")
    return ClusterText(index, name, clean_description(said[1]), model=answer.model)


def _fallback(index: int, sample: Sample, error_class: str) -> ClusterText:
    name, description = keyphrase_name(sample)
    return ClusterText(index, clean_name(name), clean_description(description), failed=error_class)


async def _rename_round(
    texts: Mapping[int, ClusterText], samples: Sequence[Sample], context: Context
) -> list[ClusterText]:
    """New texts for all clusters whose names are too much alike; empty when there are none."""
    order = sorted(texts)
    alike = too_similar([texts[index].name for index in order])
    if not alike:
        return []
    affected = {order[position] for group in alike for position in group}
    taken = [texts[index].name for index in order if index not in affected]
    batches = _packed([[order[position] for position in group] for group in alike])

    async def ask(batch: list[int]) -> list[ClusterText]:
        return await _renamed(batch, texts, samples, taken, context)

    answers = [text async for part in as_answered(batches, ask, context) for text in part]
    return sorted(answers, key=lambda text: text.index)


def _packed(groups: Sequence[list[int]]) -> list[list[int]]:
    """Groups joined into batches of about :data:`RENAME_BATCH`, none torn apart if it fits."""
    batches: list[list[int]] = []
    for group in groups:
        for start in range(0, len(group), RENAME_BATCH):
            part = group[start : start + RENAME_BATCH]
            if batches and len(batches[-1]) + len(part) <= RENAME_BATCH:
                batches[-1].extend(part)
            else:
                batches.append(list(part))
    return batches


async def _renamed(
    batch: Sequence[int],
    texts: Mapping[int, ClusterText],
    samples: Sequence[Sample],
    taken: Sequence[str],
    context: Context,
) -> list[ClusterText]:
    groups = [
        {
            "index": index,
            "name": texts[index].name,
            "description": texts[index].description,
            "examples": _examples(samples[index]),
            "hints": list(samples[index]["hints"]),
            "members": list(samples[index]["members"]),
        }
        for index in batch
    ]
    try:
        answer = await context.chat(rename_request(groups, taken))
    except CallFailed as error:
        if error.fatal:
            raise
        return []
    return _accepted(answer.data.get("groups", ()), set(batch), answer.model)


def _examples(sample: Sample) -> list[str]:
    hints = [hint for hint in sample["hints"] if hint.strip()]
    return (hints or list(sample["members"]))[:EXAMPLES]


def _accepted(entries: Any, wanted: set[int], model: str) -> list[ClusterText]:
    """The usable entries of a rename answer, one per wanted index."""
    found: dict[int, ClusterText] = {}
    for entry in entries:
        index, name = int(entry["index"]), clean_name(str(entry["name"]))
        said = f"{entry['name']}\n{entry['description']}"
        if index in wanted and name and not flagged(said):
            text = clean_description(str(entry["description"]))
            found.setdefault(index, ClusterText(index, name, text, model=model))
    return list(found.values())


def _forced_apart(texts: dict[int, ClusterText], samples: Sequence[Sample]) -> list[ClusterText]:
    """Texts that are still too much alike, told apart by a phrase of their own members.

    The largest cluster of each group keeps its name (lower indices are larger clusters).
    """
    order = sorted(texts)
    changed: list[ClusterText] = []
    for group in too_similar([texts[index].name for index in order]):
        for position in group[1:]:
            text = texts[order[position]]
            others = [texts[index].name for index in order if index != text.index]
            name = set_apart(text.name, distinguishing(samples[text.index]), others)
            texts[text.index] = ClusterText(
                text.index, name, text.description, text.model, text.failed
            )
            changed.append(texts[text.index])
    return changed
