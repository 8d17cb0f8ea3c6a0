"""The finished analysis, turned once into arrays that all the finders count on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import numpy.typing as npt

from analyses.pipeline.records import AnalysisTable, FacetAnswer, FacetSpec, TreeNode

Mask = npt.NDArray[np.bool_]

MISSING = -(2**31)
"""Day number of a conversation without a time."""

EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Group:
    """A shown node of the tree and the rows in it."""

    node: TreeNode
    mask: Mask
    size: int


@dataclass(frozen=True, slots=True)
class Columns:
    """``days`` counts from 1 January 1970 in UTC; ``users`` are codes, ``None`` when unknown."""

    total: int
    groups: tuple[Group, ...]
    days: npt.NDArray[np.int64]
    users: npt.NDArray[np.int64] | None
    languages: Sequence[str]
    specs: Sequence[FacetSpec]
    facets: Mapping[str, Sequence[FacetAnswer]]
    parents: Mapping[int, int | None]

    def related(self, one: int | None, other: int | None) -> bool:
        """Whether the nodes are the same or one lies above the other."""
        if one is None or other is None:
            return one == other
        return other in self._up(one) or one in self._up(other)

    def _up(self, key: int) -> Iterator[int]:
        seen: set[int] = set()
        step: int | None = key
        while step is not None and step not in seen:
            seen.add(step)
            yield step
            step = self.parents.get(step)

    def people(self, mask: Mask) -> int | None:
        """Distinct end users among the rows, ``None`` when the data names none."""
        if self.users is None:
            return None
        codes = self.users[mask]
        return int(np.unique(codes[codes >= 0]).size)


def columns(table: AnalysisTable) -> Columns:
    """Read the table once. Rows outside the table and nodes not shown are left out."""
    total = len(table.started)
    groups = tuple(
        group
        for node in sorted(table.nodes, key=lambda node: (node.level, node.key))
        if node.key in table.shown
        and (group := _group(node, table.groups.get(node.key, ()), total)).size
    )
    return Columns(
        total=total,
        groups=groups,
        days=np.array([day_number(at) for at in table.started], dtype=np.int64),
        users=_codes(table.users, total),
        languages=table.languages,
        specs=table.specs,
        facets={key: values for key, values in table.facets.items() if len(values) == total},
        parents={node.key: node.parent for node in table.nodes},
    )


def day_number(at: datetime | None) -> int:
    """Day of a moment in UTC; a time without a zone is taken as UTC."""
    if at is None:
        return MISSING
    moment = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return (moment.date() - EPOCH).days


def day_date(number: int) -> date:
    """The date of a day number."""
    return EPOCH + timedelta(days=int(number))


def _group(node: TreeNode, rows: Sequence[int], total: int) -> Group:
    mask = np.zeros(total, dtype=np.bool_)
    places = np.asarray(rows, dtype=np.int64)
    mask[places[(places >= 0) & (places < total)]] = True
    return Group(node=node, mask=mask, size=int(mask.sum()))


def _codes(users: Sequence[str], total: int) -> npt.NDArray[np.int64] | None:
    if len(users) != total or not any(users):
        return None
    names = np.array(users, dtype=object).astype(str)
    codes = np.unique(names, return_inverse=True)[1].astype(np.int64)
    return np.where(names == "", -1, codes)
