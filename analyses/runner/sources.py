"""Reading what stages need from the database, in arrays and plain records."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from analyses.models import AnalysisItem, AnalysisSession, FacetValue, Outcome
from analyses.pipeline.records import FacetAnswer, FacetSpec, Source, TreeNode
from analyses.selectors.asked import facets_of, places_of, source_of
from projects.models import Conversation


@dataclass(frozen=True, slots=True)
class ReadRows:
    """Everything read so far, one entry per conversation in the order of position."""

    items: Sequence[int]
    positions: npt.NDArray[np.uint32]
    texts: Sequence[str]
    titles: Sequence[str]


def sources(session: AnalysisSession, first: int, last: int) -> list[tuple[int, Source]]:
    """Conversations of a range of positions, with their primary keys."""
    own = places_of(session, first, last)
    rows = Conversation.objects.filter(
        dataset=session.dataset_id, position__in=own, deleted_at=None
    )
    return [
        (row.pk, replace(source_of(row), position=own[row.position]))
        for row in rows.order_by("position")
    ]


def specs(session: AnalysisSession) -> tuple[FacetSpec, ...]:
    """The facets of the frozen template version."""
    return facets_of(session.template_version)


def read_rows(session: AnalysisSession) -> ReadRows:
    """All conversations read so far."""
    wanted = session.items.filter(outcome=Outcome.READ).order_by("position")
    items, positions = array("Q"), array("L")
    texts: list[str] = []
    titles: list[str] = []
    # Row by row: a list of 100,000 tuples beside the columns would fill 30 MB.
    for pk, position, text, title in wanted.values_list("pk", "position", "text", "title").iterator(
        5000
    ):
        items.append(pk)
        positions.append(position)
        texts.append(text)
        titles.append(title)
    return ReadRows(items, np.array(positions, dtype=np.uint32), texts, titles)


def end_users(session: AnalysisSession) -> list[str]:
    """The end user of every conversation read, in the order of position ("" for unknown)."""
    return list(_read(session).values_list("conversation__end_user", flat=True))


def started(session: AnalysisSession) -> list[datetime | None]:
    """When every conversation read began."""
    return list(_read(session).values_list("conversation__started_at", flat=True))


def languages(session: AnalysisSession) -> list[str]:
    """The detected language of every conversation read."""
    return list(_read(session).values_list("language", flat=True))


def _read(session: AnalysisSession) -> Any:
    return AnalysisItem.objects.filter(session=session, outcome=Outcome.READ).order_by("position")


def facet_columns(
    session: AnalysisSession, items: Sequence[int] | None = None
) -> dict[str, list[FacetAnswer]]:
    """The answers as columns: one list per facet, one entry per conversation read.

    ``items`` are the conversations' primary keys in the order wanted, by default all read so far.
    """
    pks = _read(session).values_list("pk", flat=True) if items is None else items
    row_of = {pk: row for row, pk in enumerate(pks)}
    keys = {facet.pk: facet.key for facet in session.template_version.facets.all()}
    columns: dict[str, list[FacetAnswer]] = {key: [None] * len(row_of) for key in keys.values()}
    values = FacetValue.objects.filter(item__session=session, item__outcome=Outcome.READ)
    wanted = ("item_id", "facet_id", "text", "number", "flag", "entries")
    for item, facet, text, number, flag, entries in values.values_list(*wanted).iterator(5000):
        answer = next((v for v in (text, number, flag) if v is not None), None)
        column = columns.get(keys.get(facet, ""))
        if column is not None and item in row_of:
            column[row_of[item]] = tuple(entries) if entries is not None else answer
    return columns


def rows_by_node(
    nodes: Sequence[TreeNode], labels: npt.NDArray[np.int32]
) -> dict[int, npt.NDArray[np.int64]]:
    """The rows of every tree node. Grouped by one sort; parents join their children."""
    order = np.argsort(labels, kind="stable")
    sorted_labels = np.asarray(labels)[order]
    groups: dict[int, npt.NDArray[np.int64]] = {}
    children: dict[int, list[int]] = {}
    for node in nodes:
        if node.leaf is not None:
            low, high = np.searchsorted(sorted_labels, [node.leaf, node.leaf + 1])
            groups[node.key] = order[low:high]
        if node.parent is not None:
            children.setdefault(node.parent, []).append(node.key)
    for node in sorted(nodes, key=lambda node: -node.level):
        if node.key not in groups:
            parts = [groups[child] for child in children.get(node.key, []) if child in groups]
            groups[node.key] = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
    return groups
