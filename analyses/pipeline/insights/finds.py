"""What a finder hands to the ranking, and how strong it says it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from analyses.pipeline.insights.columns import Columns
from analyses.pipeline.records import InsightFound, InsightKind
from analyses.pipeline.statistics import discoveries

WEIGHT: dict[InsightKind, float] = {
    "new": 2.0,
    "rise": 1.8,
    "concern": 1.2,
    "language": 1.0,
    "resolution": 0.9,
    "facet": 0.8,
}
"""Change comes before risk, risk before description: what a reader cannot see from the tree."""

MOST: dict[InsightKind, int] = {
    "new": 3,
    "rise": 3,
    "concern": 3,
    "language": 2,
    "resolution": 2,
    "facet": 4,
}
"""Most insights of one kind in a list."""

PER_NODE = 2
"""Most insights about one node."""

PER_FACET = 2
"""Most insights that one facet is over-represented: if groups follow a facet, two say so."""

AGAIN_KIND = 0.75
AGAIN_NODE = 0.6
"""What a further insight of the same kind, or about the same node, still counts for."""


@dataclass(frozen=True, slots=True)
class Find:
    """A candidate: ``p`` is its chance under "nothing special", ``ratio`` how much more it is.

    ``about`` tells finds of one family apart from repetitions: two finds with the same ``about`` in
    related nodes are one piece of news told twice.
    """

    insight: InsightFound
    p: float
    ratio: float
    about: str

    def strength(self, total: int) -> float:
        """0.4 … 1 from certainty, size of the difference, and share of all conversations."""
        sure = min(1.0, -math.log10(max(self.p, 1e-300)) / 10)
        effect = min(1.0, math.log2(max(self.ratio, 1.0)) / 3)
        reach = min(1.0, math.sqrt(self.insight.count / max(0.05 * total, 1.0)))
        return 0.4 + 0.6 * (0.4 * sure + 0.35 * effect + 0.25 * reach)


def significant(finds: Sequence[tuple[Find, bool]], rate: float) -> list[Find]:
    """The finds that survive the control of false discoveries **and** are large enough.

    Each comes with a flag whether its effect is large enough to speak of. All of them enter the
    control, small effects too: dropping tests after looking at them would spoil it.
    """
    kept = discoveries([find.p for find, _ in finds], rate)
    return [find for (find, large), ok in zip(finds, kept, strict=True) if ok and large]


def ranked(finds: Sequence[Find], table: Columns, most: int) -> list[InsightFound]:
    """At most ``most`` insights, best first, without repetitions and not all of one sort."""
    told: list[Find] = []
    # Of one piece of news in a group and in the group above, the surer one is the place it is
    # about: spread over a whole theme it would only be diluted.
    for find in sorted(finds, key=lambda find: (find.p, -find.ratio, find.insight.title)):
        if not any(_repeats(find, other, table) for other in told):
            told.append(find)
    told.sort(key=lambda find: (-_base(find, table.total), find.insight.title))
    chosen: list[InsightFound] = []
    while told and len(chosen) < most:
        scores = [_score(find, chosen, table.total) for find in told]
        best = max(range(len(told)), key=scores.__getitem__)
        if scores[best] <= 0:
            break
        chosen.append(replace(told.pop(best).insight, score=round(scores[best], 6)))
    return chosen


def _base(find: Find, total: int) -> float:
    return WEIGHT[find.insight.kind] * find.strength(total)


def _repeats(find: Find, other: Find, table: Columns) -> bool:
    return find.about == other.about and table.related(find.insight.node, other.insight.node)


def _score(find: Find, chosen: Sequence[InsightFound], total: int) -> float:
    kind, node = find.insight.kind, find.insight.node
    same_kind = sum(other.kind == kind for other in chosen)
    same_node = 0 if node is None else sum(other.node == node for other in chosen)
    same_facet = sum(other.kind == kind and other.facet == find.insight.facet for other in chosen)
    full = kind == "facet" and same_facet >= PER_FACET
    if full or same_kind >= MOST[kind] or same_node >= PER_NODE:
        return 0.0
    return _base(find, total) * AGAIN_KIND**same_kind * AGAIN_NODE**same_node
