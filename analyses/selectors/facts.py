"""What the answers say about a group: its commonest values, with counts."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from django.db.models import Avg, Count

from analyses.models import AnalysisItem, AnalysisSession, FacetValue, Outcome
from analyses.selectors.filters import LANGUAGE, Filters, language_name, narrow, sentence
from analyses.selectors.tree import Node, Tree, recount
from templates_app.models import FacetDefinition, FacetKind

TOO_FEW = 30
"""Under this many conversations a share says nothing (design guide, section 8)."""


@dataclass(frozen=True, slots=True)
class Fact:
    """The commonest answer to one facet in a group."""

    label: str
    value: str
    share: float
    count: int
    total: int
    title: str
    number: float | None = None


@dataclass(frozen=True, slots=True)
class Slice:
    """One answer in the breakdown of a facet."""

    label: str
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class Breakdown:
    """How a group divides by one facet."""

    label: str
    slices: list[Slice]
    total: int


def facts_of(session: AnalysisSession, node: Node) -> list[Fact]:
    """Short statements for the head of a cluster. Two queries, none for provisional groups.

    A facet with fewer than :data:`TOO_FEW` answers says nothing and is left out.
    """
    return [_fact(*row) for row in _tables(session, node) if sum(row[1].values()) >= TOO_FEW]


def breakdowns_of(session: AnalysisSession, node: Node) -> list[Breakdown]:
    """How a cluster divides by language, category and yes-or-no facets. Three queries."""
    tables = [("Language", _languages(node), None), *_tables(session, node, scores=False)]
    found = []
    for label, counts, _ in tables:
        total = sum(counts.values())
        if total:
            rows = sorted(counts.items(), key=lambda entry: -entry[1])
            slices = [Slice(name, count, count / total) for name, count in rows[:5]]
            other = total - sum(part.count for part in slices)
            if other:
                slices.append(Slice("Other", other, other / total))
            found.append(Breakdown(label, slices, total))
    return found


def _leaf_ids(node: Node) -> list[int]:
    return [leaf.cluster.pk for leaf in node.leaves() if not leaf.cluster.provisional]


def _languages(node: Node) -> dict[str, int]:
    rows = AnalysisItem.objects.filter(memberships__cluster_id__in=_leaf_ids(node)).order_by()
    counted = rows.values_list("language").annotate(count=Count("id"))
    return {language_name(code): count for code, count in counted}


Table = tuple[str, dict[str, int], float | None]


def _tables(session: AnalysisSession, node: Node, *, scores: bool = True) -> list[Table]:
    """Per facet: label, counts by answer, mean of a score."""
    leaves = _leaf_ids(node)
    if not leaves:
        return []
    kinds = [FacetKind.CATEGORY, FacetKind.BOOLEAN, *([FacetKind.SCORE] if scores else [])]
    asked = session.template_version.facets.filter(kind__in=kinds).exclude(key=LANGUAGE)
    facets = {row.pk: row for row in asked}
    values = FacetValue.objects.filter(
        facet_id__in=facets, item__memberships__cluster_id__in=leaves
    ).order_by()
    counted = values.values_list("facet_id", "text", "flag").annotate(
        count=Count("id"), mean=Avg("number")
    )
    counts: dict[int, dict[str, int]] = defaultdict(dict)
    means: dict[int, float | None] = {}
    for facet_id, text, flag, count, mean in counted:
        name = _name(facets[facet_id], text, flag, mean)
        if name:
            counts[facet_id][name] = counts[facet_id].get(name, 0) + count
            means[facet_id] = mean
    return [(facets[pk].label, counts[pk], means[pk]) for pk in facets if pk in counts]


def _name(facet: FacetDefinition, text: str | None, flag: bool | None, mean: float | None) -> str:
    if facet.kind == FacetKind.BOOLEAN:
        return "" if flag is None else ("Yes" if flag else "No")
    if facet.kind == FacetKind.SCORE:
        return "" if mean is None else f"{mean:.1f} of {facet.high}"
    return sentence(text) if text else ""


def _fact(label: str, counts: dict[str, int], mean: float | None) -> Fact:
    total = sum(counts.values())
    yes = counts.get("Yes", 0)
    value = "Yes" if set(counts) <= {"Yes", "No"} else max(counts, key=lambda key: counts[key])
    count = yes if value == "Yes" else counts[value]
    title = f"{count:,} of {total:,} conversations with an answer"
    return Fact(label, value, count / total, count, total, title, mean)


def apply_filters(session: AnalysisSession, tree: Tree, filters: Filters, floor: int) -> None:
    """Put the numbers that match the filters into the tree; one query.

    Groups with fewer than ``floor`` matches keep their place but lose their number: what a filter
    leaves of a group is protected like the group itself.
    """
    rows = narrow(AnalysisItem.objects.filter(session=session, outcome=Outcome.READ), filters)
    counted = (
        rows.filter(memberships__cluster__shown=True)
        .order_by()
        .values_list("memberships__cluster_id")
        .annotate(count=Count("id"))
    )
    recount(tree, dict(counted))
    for node in tree.walk():
        if 0 < node.count < floor:
            node.few, node.bar = True, 0
