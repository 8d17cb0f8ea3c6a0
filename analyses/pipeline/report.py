"""The report of a run: do the counts add up, how firm is the result, what did it take."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date
from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from sklearn.metrics import adjusted_rand_score

from analyses.pipeline.base import REST, Context, Labels, StageParams
from analyses.pipeline.cluster import CROWDED, assign_clusters
from analyses.pipeline.name_rules import folded
from analyses.pipeline.records import ReportCard, ReportInputs, TreeNode

FEWEST = 30
"""Fewer conversations than this say nothing about stability."""

SHAKY = 0.4
"""Adjusted Rand index (Hubert and Arabie 1985) under which a second look would group differently;
0 is chance, 1 the same groups."""

MANY_FAILED = 0.05
LARGE_REST = 0.2
"""Shares of failed conversations and of the rest bin that are worth a warning."""

COUNTERS = ("calls", "retries", "repeated_calls", "tokens_in", "tokens_out", "cost", "seconds")
"""Totals every report has, ``None`` when nobody counted them (an unknown cost is not 0)."""


class ReportParams(StageParams):
    """``resamples`` re-clusterings of ``share`` of at most ``rows`` conversations."""

    resamples: int = Field(default=5, ge=0, le=50)
    share: float = Field(default=0.9, gt=0.1, lt=1)
    rows: int = Field(default=20_000, ge=FEWEST)


class ReportStage:
    """:class:`ReportInputs` in, one :class:`ReportCard` out."""

    key: ClassVar[str] = "report"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("facets", "embed", "cluster", "hierarchy")
    Params: ClassVar[type[StageParams]] = ReportParams

    def __init__(self, params: ReportParams | None = None) -> None:
        self.params = params or ReportParams()

    async def run(self, inputs: ReportInputs, context: Context) -> AsyncIterator[ReportCard]:
        """Yield the report. A stop is noticed between two re-clusterings."""
        steps = self.params.resamples + 1
        scores: list[float] = []
        for turn in range(self.params.resamples):
            context.check()
            context.report(turn, steps)
            score = await context.compute(agreement, inputs, self.params, context.seed + turn)
            if score is None:
                break
            scores.append(score)
        context.check()
        yield ReportCard(figures=figures(inputs, scores))
        context.report(steps, steps)


def agreement(inputs: ReportInputs, params: ReportParams, seed: int) -> float | None:
    """How alike the groups come out when a tenth of the conversations is left out.

    Adjusted Rand index between the run's labels and a new clustering of a random subset; ``None``
    when there is too little to group. Rows of the rest bin take no part.
    """
    used = np.flatnonzero(np.asarray(inputs.labels) != REST)
    count = len(np.unique(inputs.labels[used]))
    if used.size < FEWEST or count < 2:
        return None
    size = int(min(used.size, params.rows) * params.share)
    chosen = np.sort(np.random.default_rng(seed).permutation(used)[:size])
    again = assign_clusters(np.asarray(inputs.vectors)[chosen], count, seed).labels
    return float(adjusted_rand_score(inputs.labels[chosen], again))


def figures(inputs: ReportInputs, scores: Sequence[float]) -> dict[str, Any]:
    """All figures as plain JSON values; ``scores`` are the agreements of the resamples."""
    labels = np.asarray(inputs.labels)
    rest = int((labels == REST).sum())
    problems = _problems(inputs, int(labels.shape[0]), rest)
    found: dict[str, Any] = {
        "conversations": {
            "total": inputs.total,
            "read": inputs.read,
            "failed": inputs.failed,
            "waiting": max(inputs.total - inputs.read - inputs.failed, 0),
            "coverage": _part(inputs.read, inputs.total),
        },
        "levels": _levels(inputs),
        "clusters": sum(node.leaf is not None for node in inputs.nodes),
        "themes": sum(node.parent is None for node in inputs.nodes),
        "rest": {"count": rest, "share": _part(rest, labels.shape[0])},
        "largest": _largest(inputs, labels),
        "adds_up": not problems,
        "problems": problems,
        "stability": _stability(scores),
        "duplicate_names": duplicates(inputs.nodes),
        "totals": dict.fromkeys(COUNTERS) | plain(inputs.totals),
    }
    found["warnings"] = _warnings(found)
    return found


def duplicates(nodes: Sequence[TreeNode]) -> list[dict[str, Any]]:
    """Names of one level that read the same once case, small words and plurals are set aside."""
    alike: dict[tuple[int, tuple[str, ...]], list[TreeNode]] = {}
    for node in nodes:
        alike.setdefault((node.level, tuple(sorted(folded(node.name)))), []).append(node)
    return [
        {"level": level, "name": group[0].name, "nodes": [node.key for node in group]}
        for (level, _), group in alike.items()
        if len(group) > 1
    ]


def plain(value: Any) -> Any:
    """``value`` as JSON has it: no arrays, no tuples, no NaN, keys as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, date):
        return value.isoformat()
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def _problems(inputs: ReportInputs, labelled: int, rest: int) -> list[str]:
    """Every way in which the counts fail to add up, in words."""
    found: list[str] = []
    if labelled != inputs.read:
        found.append(f"{inputs.read:,} conversations were read, but {labelled:,} have a cluster.")
    if inputs.read + inputs.failed > inputs.total:
        found.append(
            f"{inputs.read:,} read and {inputs.failed:,} failed are more than {inputs.total:,}."
        )
    for level in _levels(inputs):
        if level["conversations"] != labelled - rest:
            found.append(
                f"Level {level['level']} holds {level['conversations']:,} conversations, "
                f"expected {labelled - rest:,}."
            )
    return found + _broken_groups(inputs)


def _broken_groups(inputs: ReportInputs) -> list[str]:
    """Groups that differ from the sum of the groups below, or hold a conversation twice."""
    below: dict[int, int] = {}
    for node in inputs.nodes:
        if node.parent is not None:
            below[node.parent] = below.get(node.parent, 0) + _size(inputs, node)
    found: list[str] = []
    for node in inputs.nodes:
        size = _size(inputs, node)
        if len(set(inputs.groups.get(node.key, ()))) != size:
            found.append(f"Group {node.key} holds a conversation twice.")
        if node.leaf is None and below.get(node.key, 0) != size:
            inside = below.get(node.key, 0)
            found.append(f"Group {node.key} holds {size:,}, the groups below it {inside:,}.")
    return found


def _levels(inputs: ReportInputs) -> list[dict[str, Any]]:
    """Per level its groups and conversations; a cluster above the level counts where it ends."""
    rows: list[dict[str, Any]] = []
    for level in sorted({node.level for node in inputs.nodes}):
        nodes = [
            node
            for node in inputs.nodes
            if node.level == level or (node.level < level and node.leaf is not None)
        ]
        sizes = [_size(inputs, node) for node in nodes]
        rows.append({"level": level, "groups": len(nodes), "conversations": sum(sizes)})
    return rows


def _size(inputs: ReportInputs, node: TreeNode) -> int:
    return len(inputs.groups.get(node.key, ()))


def _largest(inputs: ReportInputs, labels: Labels) -> dict[str, Any] | None:
    """The largest base cluster and its share of all conversations read."""
    leaves = [node for node in inputs.nodes if node.leaf is not None]
    if not leaves or not labels.shape[0]:
        return None
    top = max(leaves, key=lambda node: (_size(inputs, node), -node.key))
    size = _size(inputs, top)
    share = _part(size, labels.shape[0])
    return {"node": top.key, "name": top.name, "count": size, "share": share}


def _stability(scores: Sequence[float]) -> dict[str, Any] | None:
    if not scores:
        return None
    return {
        "mean": round(float(np.mean(scores)), 4),
        "low": round(min(scores), 4),
        "resamples": len(scores),
    }


def _warnings(found: Mapping[str, Any]) -> list[str]:
    """What a reader should know before trusting the result, in words."""
    said: list[str] = []
    counts, rest, top = found["conversations"], found["rest"], found["largest"]
    if found["problems"]:
        said.append("The counts do not add up. See the list of problems.")
    if counts["failed"] and counts["failed"] > MANY_FAILED * counts["total"]:
        said.append(f"{counts['failed']:,} of {counts['total']:,} conversations could not be read.")
    if (rest["share"] or 0) > LARGE_REST:
        said.append(f"{rest['count']:,} conversations fit in no cluster.")
    if top and found["clusters"] > 1 and (top["share"] or 0) > CROWDED:
        said.append(f"One cluster holds {top['share']:.0%} of all conversations: {top['name']}.")
    if found["stability"] and found["stability"]["mean"] < SHAKY:
        said.append("Another pass over the same data would group it differently in many places.")
    if found["duplicate_names"]:
        said.append(f"{len(found['duplicate_names']):,} names are used more than once.")
    return said


def _part(count: int, total: int) -> float | None:
    """A share, ``None`` of nothing."""
    return round(count / total, 6) if total else None
