"""What is more frequent in a group than elsewhere: facets, concern, what stays unresolved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analyses.pipeline.insights import wording
from analyses.pipeline.insights.columns import Columns, Group, Mask
from analyses.pipeline.insights.finds import Find, significant
from analyses.pipeline.insights.params import InsightParams
from analyses.pipeline.records import FacetAnswer, FacetSpec, InsightFound, InsightKind
from analyses.pipeline.statistics import Interval, enrichment, newcombe, wilson

CONCERN = "concern"
RESOLVED = "resolved"
LANGUAGE = "language"
"""Facets every template has; they have finders of their own."""

UNRESOLVED = frozenset({"no", "false", "unresolved", "not resolved"})

VALUES = 40
"""Most frequent answers of a facet that are looked at."""

RATIO = 1.5
"""A share less than half as high again as elsewhere is not worth a line."""

MARGIN = 0.05
"""The difference has to be at least this with 95 % certainty (lower end, Newcombe)."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """A mark's count and share in a group and in the rest."""

    count: int
    size: int
    other: int
    other_size: int

    @property
    def share(self) -> float:
        """Share in the group."""
        return self.count / max(self.size, 1)

    @property
    def elsewhere(self) -> float:
        """Share in the rest."""
        return self.other / max(self.other_size, 1)

    @property
    def ratio(self) -> float:
        """How many times as frequent; half a conversation stands in for none."""
        return self.share / max(self.elsewhere, 0.5 / max(self.other_size, 1))

    @property
    def interval(self) -> Interval:
        """95 % interval of the group's share."""
        return wilson(self.count, self.size)

    @property
    def p(self) -> float:
        """Chance of as many when the mark has nothing to do with the group."""
        total = self.size + self.other_size
        return enrichment(self.count, self.size, self.count + self.other, total)

    @property
    def surely_more(self) -> float:
        """Lower end of the 95 % interval of the difference."""
        return newcombe(self.count, self.size, self.other, self.other_size).low


def facets(table: Columns, params: InsightParams) -> list[Find]:
    """Answers that are over-represented in a group, for all facets with answers to count."""
    finds: list[tuple[Find, bool]] = []
    for key, label, says, mask, known in _marks(table):
        for group in table.groups:
            contrast = _contrast(group, mask, known)
            if min(contrast.size, contrast.other_size) < params.group:
                continue
            large = (
                contrast.count >= params.count
                and contrast.ratio >= RATIO
                and contrast.surely_more >= MARGIN
                and _people(table, group.mask & mask, params)
            )
            finds.append((_facet_find(group, key, label, says, contrast), large))
    return significant(finds, params.false_share)


def concerns(table: Columns, params: InsightParams) -> list[Find]:
    """Groups with more conversations in the two highest grades of concern than elsewhere."""
    spec = next((spec for spec in table.specs if spec.key == CONCERN), None)
    values = table.facets.get(CONCERN)
    if spec is None or values is None or spec.kind != "score":
        return []
    grades = np.array([_grade(value) for value in values], dtype=np.float64)
    known, mask = np.isfinite(grades), grades >= spec.high - 1
    finds: list[tuple[Find, bool]] = []
    for group in table.groups:
        contrast = _contrast(group, mask, known)
        large = contrast.count >= params.concern and contrast.ratio >= RATIO
        large = large and _people(table, group.mask & mask, params)
        if contrast.size:
            finds.append((_concern_find(group, spec, contrast), large))
    return significant(finds, params.false_share)


def resolutions(table: Columns, params: InsightParams) -> list[Find]:
    """Groups whose conversations end unresolved more often than the others."""
    values = table.facets.get(RESOLVED)
    if values is None:
        return []
    known = np.array([value is not None for value in values], dtype=np.bool_)
    mask = np.array([_unresolved(value) for value in values], dtype=np.bool_)
    finds: list[tuple[Find, bool]] = []
    for group in table.groups:
        contrast = _contrast(group, mask, known)
        if min(contrast.size, contrast.other_size) >= params.group:
            large = contrast.count >= params.count and contrast.surely_more >= MARGIN
            large = large and _people(table, group.mask & mask, params)
            finds.append((_resolution_find(group, contrast), large))
    return significant(finds, params.false_share)


def _marks(table: Columns) -> list[tuple[str, str, str, Mask, Mask]]:
    """Every countable answer: facet key, its label, the answer in words, its rows, known rows."""
    marks: list[tuple[str, str, str, Mask, Mask]] = []
    for spec in table.specs:
        values = table.facets.get(spec.key)
        if values is None or spec.kind == "text" or spec.key in (CONCERN, RESOLVED, LANGUAGE):
            continue
        marks += _of_facet(spec.key, spec.label, [_answers(spec, value) for value in values])
    if len(table.languages) == table.total:
        spoken = [_spoken(code) for code in table.languages]
        marks += _of_facet(LANGUAGE, "Language", spoken)
    return marks


def _of_facet(
    key: str, label: str, answers: Sequence[tuple[str, ...]]
) -> list[tuple[str, str, str, Mask, Mask]]:
    known = np.array([bool(answer) for answer in answers], dtype=np.bool_)
    counts = Counter(value for answer in answers for value in set(answer) if value)
    often = sorted(counts, key=lambda value: (-counts[value], value))[:VALUES]
    return [
        (key, label, value, np.array([value in a for a in answers], dtype=np.bool_), known)
        for value in often
    ]


def _answers(spec: FacetSpec, value: FacetAnswer) -> tuple[str, ...]:
    """An answer as the words it counts under: none when not given, "" when not worth a word."""
    if value is None or value == "":
        return ()
    if spec.kind == "score":
        grade = _grade(value)
        if not np.isfinite(grade):
            return ()
        return (f"{spec.high - 1} or {spec.high}",) if grade >= spec.high - 1 else ("",)
    if isinstance(value, tuple | list):
        return tuple(wording.answer(item) for item in value if item)
    return (wording.answer(value),)


def _spoken(code: str) -> tuple[str, ...]:
    name = wording.language(code)
    return (name,) if name else ()


def _grade(value: FacetAnswer) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return float("nan")
    return float(value)


def _unresolved(value: FacetAnswer) -> bool:
    if isinstance(value, bool):
        return not value
    return isinstance(value, str) and value.strip().lower() in UNRESOLVED


def _contrast(group: Group, mask: Mask, known: Mask) -> Contrast:
    inside, outside = group.mask & known, ~group.mask & known
    return Contrast(
        count=int((mask & inside).sum()),
        size=int(inside.sum()),
        other=int((mask & outside).sum()),
        other_size=int(outside.sum()),
    )


def _people(table: Columns, mask: Mask, params: InsightParams) -> bool:
    people = table.people(mask)
    return people is None or people >= params.users


def _facet_find(group: Group, key: str, label: str, says: str, contrast: Contrast) -> Find:
    often = wording.share(contrast.share)
    what = f"{says} in {often}" if key == LANGUAGE else f"{label.lower()} is {says} in {often}"
    return _find("facet", group, f"{group.node.name}: {what}", contrast, f"{key} {says}", key)


def _concern_find(group: Group, spec: FacetSpec, contrast: Contrast) -> Find:
    rated = f"rated {spec.high - 1} or {spec.high} for concern"
    title = f"{wording.conversations(contrast.count)} {rated} in {group.node.name}"
    return _find("concern", group, title, contrast, CONCERN, CONCERN, " Check these first.")


def _resolution_find(group: Group, contrast: Contrast) -> Find:
    title = f"{group.node.name}: {wording.share(contrast.share)} left unresolved"
    return _find("resolution", group, title, contrast, RESOLVED, RESOLVED)


def _find(
    kind: InsightKind,
    group: Group,
    title: str,
    contrast: Contrast,
    about: str,
    facet: str,
    more: str = "",
) -> Find:
    interval = contrast.interval
    text = (
        f"{wording.number(contrast.count)} of {wording.conversations(contrast.size)} "
        f"({wording.share(interval.low)} to {wording.share(interval.high)} with 95% certainty), "
        f"{wording.share(contrast.elsewhere)} elsewhere.{more}"
    )
    found = InsightFound(
        kind=kind,
        title=title,
        text=text,
        score=0.0,
        node=group.node.key,
        facet=facet,
        count=contrast.count,
        share=contrast.share,
        low=interval.low,
        high=interval.high,
    )
    return Find(found, contrast.p, contrast.ratio, about)
