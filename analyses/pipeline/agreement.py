"""How far two models agree about the same conversations, facet by facet.

Choices and yes or no must be equal, a score may be one off, texts are as alike as their weighted
words (cosine). Shares come with Wilson's interval: few conversations say little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyses.pipeline.records import FacetAnswer, FacetSpec
from analyses.pipeline.statistics import wilson
from analyses.pipeline.vectors import embed_texts

RULES = {
    "category": "exact",
    "boolean": "exact",
    "score": "within 1",
    "text": "likeness",
    "list": "likeness",
}
"""How the answers to a kind of facet are compared."""

Answers = Mapping[str, FacetAnswer]


@dataclass(frozen=True, slots=True)
class Pair:
    """The answers of two models about one conversation."""

    before: Answers
    after: Answers


def marks(pairs: Sequence[Pair], specs: Sequence[FacetSpec], seed: int) -> list[dict[str, float]]:
    """For every pair, by facet: 1 or 0 for agreed or not, for texts their likeness from 0 to 1.

    A facet that neither model answered is left out.
    """
    found: list[dict[str, float]] = [{} for _ in pairs]
    for spec in specs:
        both = [(pair.before.get(spec.key), pair.after.get(spec.key)) for pair in pairs]
        given = [place for place, one in enumerate(both) if not all(map(_is_blank, one))]
        marked = _marked([both[place] for place in given], spec, seed)
        for place, mark in zip(given, marked, strict=True):
            found[place][spec.key] = mark
    return found


def _is_blank(answer: FacetAnswer) -> bool:
    return answer is None or answer in ("", ())


def _marked(
    both: Sequence[tuple[FacetAnswer, FacetAnswer]], spec: FacetSpec, seed: int
) -> list[float]:
    if RULES[spec.kind] == "likeness":
        return _likeness(both, seed)
    close = _is_near if spec.kind == "score" else _is_equal
    return [float(close(before, after)) for before, after in both]


def _is_equal(before: FacetAnswer, after: FacetAnswer) -> bool:
    if isinstance(before, str) and isinstance(after, str):
        return before.casefold() == after.casefold()
    return before == after


def _is_near(before: FacetAnswer, after: FacetAnswer) -> bool:
    numbers = [one for one in (before, after) if isinstance(one, int | float)]
    return len(numbers) == 2 and abs(numbers[0] - numbers[1]) <= 1


def _likeness(both: Sequence[tuple[FacetAnswer, FacetAnswer]], seed: int) -> list[float]:
    """Cosines of the local vectors; words are weighed by how rare they are in these texts."""
    if not both:
        return []
    texts = [_words(answer) for side in zip(*both, strict=True) for answer in side]
    vectors = np.asarray(embed_texts(texts, seed), dtype=np.float64)
    old, new = vectors[: len(both)], vectors[len(both) :]
    lengths = np.linalg.norm(old, axis=1) * np.linalg.norm(new, axis=1)
    cosines = np.einsum("ij,ij->i", old, new) / np.where(lengths > 0, lengths, 1.0)
    same = [_words(before) == _words(after) for before, after in both]
    return [
        1.0 if equal else float(np.clip(c, 0, 1)) for equal, c in zip(same, cosines, strict=True)
    ]


def _words(answer: FacetAnswer) -> str:
    return ", ".join(map(str, answer)) if isinstance(answer, tuple) else str(answer or "")


def summed(rows: Sequence[Mapping[str, float]], specs: Sequence[FacetSpec]) -> list[dict[str, Any]]:
    """One line for every facet: how many were compared and how far they agree.

    ``share`` with ``low`` and ``high`` (Wilson, 95 %) where answers agree or do not; ``mean`` and
    ``worst`` likeness for texts.
    """
    return [_line(spec, [row[spec.key] for row in rows if spec.key in row]) for spec in specs]


def _line(spec: FacetSpec, values: Sequence[float]) -> dict[str, Any]:
    line: dict[str, Any] = {
        "key": spec.key,
        "label": spec.label,
        "rule": RULES[spec.kind],
        "compared": len(values),
    }
    if not values:
        return line
    if RULES[spec.kind] == "likeness":
        return {**line, "mean": round(float(np.mean(values)), 4), "worst": round(min(values), 4)}
    agreed = round(sum(values))
    bounds = wilson(agreed, len(values))
    return {
        **line,
        "agreed": agreed,
        "share": round(agreed / len(values), 4),
        "low": round(bounds.low, 4),
        "high": round(bounds.high, 4),
    }
