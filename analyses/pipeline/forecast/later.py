"""What follows reading: vectors, names, the tree over the clusters, and its privacy check."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analyses.pipeline import hierarchy_prompts as arrange
from analyses.pipeline import name_prompts
from analyses.pipeline.base import ChatRequest
from analyses.pipeline.forecast.loads import (
    NAME,
    RETRIES,
    UNSEEN_ANSWER,
    Load,
    Material,
    Range,
    answer_tokens,
    answers,
    exactly,
    request_tokens,
    shaped,
)
from analyses.pipeline.name import CANDIDATES, NEIGHBOURS, NameParams
from analyses.pipeline.privacy import privacy_request
from analyses.pipeline.records import GroupFacts
from analyses.pipeline.shape import NEARBY, NEIGHBOURHOOD, PLACED_PER_CALL, bounds, level_targets
from analyses.pipeline.tokens import count_tokens

UNEVEN = 0.75
"""Unevenness of cluster sizes: exponent over exponential quantiles, a variation of about 0.76."""

_REASON = "The title and description are general; nothing in them narrows down who took part."
_TEXTS_PER_CALL = 128
"""Texts in one request for vectors, as the gateway sends them."""


def vectors(read: int, material: Material) -> Load:
    """Vectors of what was said about every conversation read."""
    each = sum(count_tokens(text) for text in material.statements) / len(material.statements)
    tokens = exactly(each * read).widened(UNSEEN_ANSWER, UNSEEN_ANSWER + RETRIES)
    calls = exactly(math.ceil(read / _TEXTS_PER_CALL))
    return Load("embeddings", calls, tokens, Range())


def cluster_sizes(total: int, count: int) -> list[float]:
    """Usual sizes of ``count`` clusters of ``total`` conversations, smallest first."""
    raw = [(-math.log(1 - (i + 0.5) / count)) ** UNEVEN for i in range(count)]
    return [total * value / sum(raw) for value in raw]


def names(total: int, clusters: int, material: Material) -> Load:
    """One question for every cluster, with members and its nearest outsiders."""
    params = NameParams()
    sizes = cluster_sizes(total, clusters)
    candidates = sum(min(CANDIDATES, size) for size in sizes) / clusters
    near = min(NEIGHBOURS, clusters - 1)
    lines = sum(min(params.members, size) for size in sizes)
    lines += clusters * min(params.outsiders, near * candidates)
    bare = _name_tokens([])
    each = (_name_tokens(material.statements) - bare) / len(material.statements)
    stand_in = answer_tokens({"name": NAME, "description": material.description})
    answered = answers("names", clusters, clusters * stand_in, material)
    return shaped("names", clusters, clusters * bare + lines * each, answered)


def _name_tokens(members: Sequence[str]) -> int:
    payload = {"members": list(members), "outsiders": ["-"]}
    return request_tokens(name_prompts.name_request(payload))


# the tree ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Sum:
    calls: float = 0
    asked: float = 0
    answered: float = 0
    rounds: int = 0

    def add(self, calls: float, request: ChatRequest, answer: Mapping[str, Any]) -> None:
        """``calls`` requests like this one, side by side."""
        self.calls += calls
        self.asked += calls * request_tokens(request)
        self.answered += calls * answer_tokens(answer)
        self.rounds += 1


def tree(clusters: int, material: Material) -> tuple[Load, Load]:
    """Hierarchy and privacy: the calls of every level as ``hierarchy_level`` makes them."""
    made = _Sum()
    groups = children = clusters
    for target in level_targets(clusters, None, None):
        if target < children:
            _level(made, children, target, material.description)
            groups, children = groups + target, target
    hierarchy = shaped(
        "hierarchy",
        made.calls,
        made.asked,
        answers("hierarchy", made.calls, made.answered, material),
        max(1, made.rounds),
    )
    audit = privacy_request(GroupFacts(0, None, 1, NAME, material.description, 1, None))
    said = groups * answer_tokens({"reason": _REASON, "score": 5})
    asked = groups * request_tokens(audit)
    return hierarchy, shaped("privacy", groups, asked, answers("privacy", groups, said, material))


def _level(made: _Sum, children: int, target: int, description: str) -> None:
    parts = math.ceil(children / NEIGHBOURHOOD)
    in_part, share = round(children / parts), max(1, round(target / parts))
    nearby = [NAME] * NEARBY if parts > 1 else []
    made.add(
        parts,
        arrange.propose_request(
            _entries(in_part, description), share, bounds(share, in_part), [], nearby
        ),
        _themes(share, "groups", in_part, description),
    )
    if parts > 1:
        proposed = share * parts
        made.add(
            1,
            arrange.dedupe_request(
                _entries(proposed, description), target, bounds(target, proposed)
            ),
            _themes(target, "replaces", proposed, description),
        )
    placed = min(children, PLACED_PER_CALL)
    placements = [{"child": 10 + i, "parent": NAME} for i in range(placed)]
    made.add(
        children / placed,
        arrange.assign_request(
            _entries(placed, description), _entries(target, description), [], []
        ),
        {"placements": placements},
    )
    under = max(1, round(children / target))
    one = {"name": NAME, "description": description}
    made.add(
        target,
        arrange.rename_request(one, _entries(under, description), [NAME] * (target - 1)),
        one,
    )


def _entries(count: int, description: str) -> list[dict[str, Any]]:
    return [
        {"key": 10 + i, "name": NAME, "description": description, "size": 1} for i in range(count)
    ]


def _themes(count: int, members: str, keys: int, description: str) -> dict[str, Any]:
    each = max(1, round(keys / count))
    theme = {"name": NAME, "description": description, members: [10 + i for i in range(each)]}
    return {"themes": [theme] * count}
