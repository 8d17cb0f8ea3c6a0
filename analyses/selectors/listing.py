"""Lists of conversations: which belong to a selection, a page of them, and the neighbours of one.

A list comes from the database (membership of final clusters) or, where groups live in arrays
(the provisional picture, a lasso), from positions. Both answer the same three questions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from django.db.models import QuerySet

from analyses.models import AnalysisItem, AnalysisSession, Outcome
from analyses.selectors.filters import Filters, narrow
from analyses.selectors.mapdata import Picture, Positions, positions_in, positions_inside
from analyses.selectors.tree import Node, Tree

PAGE = 40


@dataclass(frozen=True, slots=True)
class Page:
    """Some conversations in order, and the position after which the next page begins."""

    items: list[AnalysisItem]
    after: int | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a conversation stands in a list: 1 is the first. ``None`` where there is no more."""

    ordinal: int
    before: int | None
    after: int | None


class Listing(Protocol):
    """A list of conversations, ordered by position."""

    def count(self) -> int:
        """How many there are."""

    def page(self, after: int | None) -> Page:
        """The page that begins after a position."""

    def place(self, position: int) -> Place | None:
        """Where a conversation stands; ``None`` when it is not in the list."""


def item_rows(session: AnalysisSession) -> QuerySet[AnalysisItem]:
    """Conversations read, with what a row shows; the messages stay in the database."""
    return (
        AnalysisItem.objects.filter(session=session, outcome=Outcome.READ)
        .select_related("conversation")
        .only(
            "session_id",
            "position",
            "title",
            "summary",
            "language",
            "conversation__external_id",
            "conversation__started_at",
            "conversation__message_count",
            "conversation__deleted_at",
        )
        .order_by("position")
    )


@dataclass(frozen=True, slots=True)
class RowListing:
    """A list the database holds."""

    rows: QuerySet[AnalysisItem]
    known: int | None = None

    def count(self) -> int:
        """How many there are; one query unless known."""
        return self.rows.count() if self.known is None else self.known

    def page(self, after: int | None) -> Page:
        """One query."""
        rows = self.rows if after is None else self.rows.filter(position__gt=after)
        found = list(rows[: PAGE + 1])
        return Page(found[:PAGE], found[PAGE - 1].position if len(found) > PAGE else None)

    def place(self, position: int) -> Place | None:
        """Four small queries."""
        numbers = self.rows.values_list("position", flat=True)
        if not numbers.filter(position=position).exists():
            return None
        below = numbers.filter(position__lt=position)
        above = numbers.filter(position__gt=position)
        before = below.order_by("-position").first()
        return Place(below.count() + 1, before, above.first())


@dataclass(frozen=True, slots=True)
class ArrayListing:
    """A list of ascending positions."""

    session: AnalysisSession
    positions: Positions

    def count(self) -> int:
        """How many there are."""
        return len(self.positions)

    def page(self, after: int | None) -> Page:
        """One query."""
        start = 0 if after is None else int(np.searchsorted(self.positions, after, side="right"))
        wanted = [int(number) for number in self.positions[start : start + PAGE]]
        more = start + PAGE < len(self.positions)
        found = list(item_rows(self.session).filter(position__in=wanted))
        return Page(found, wanted[-1] if more else None)

    def place(self, position: int) -> Place | None:
        """No query."""
        row = int(np.searchsorted(self.positions, position))
        if row >= len(self.positions) or self.positions[row] != position:
            return None
        before = int(self.positions[row - 1]) if row else None
        after = int(self.positions[row + 1]) if row + 1 < len(self.positions) else None
        return Place(row + 1, before, after)


def needs_picture(tree: Tree, node: Node | None, filters: Filters) -> bool:
    """Whether the list can only be told from the arrays."""
    return filters.lasso is not None or (node is not None and tree.provisional)


def listing_of(
    session: AnalysisSession, tree: Tree, node: Node | None, filters: Filters, found: Picture | None
) -> Listing:
    """The conversations of a group (or all) that satisfy the filters.

    A withheld group's conversations appear under no group; they are part of the whole only.
    """
    rows = narrow(item_rows(session), filters)
    if not needs_picture(tree, node, filters):
        return _from_rows(session, rows, node, filters)
    if found is None:
        return ArrayListing(session, np.empty(0, dtype=np.int64))
    positions = positions_in(found, _keys(node)) if node else found.positions
    if filters.lasso is not None:
        inside = positions_inside(found, filters.lasso)
        positions = np.intersect1d(positions, inside, assume_unique=True)
    if filters.on_rows:
        kept = np.fromiter(rows.values_list("position", flat=True), dtype=np.int64)
        positions = np.intersect1d(positions, kept, assume_unique=True)
    return ArrayListing(session, positions)


def _keys(node: Node) -> set[int]:
    return {inner.key for inner in node.walk() if not inner.children}


def _from_rows(
    session: AnalysisSession, rows: QuerySet[AnalysisItem], node: Node | None, filters: Filters
) -> RowListing:
    if node is None:
        return RowListing(rows, None if filters.on_rows else session.read_count)
    leaves = [leaf.cluster for leaf in node.leaves()]
    known = None if filters.on_rows else sum(leaf.size for leaf in leaves)
    return RowListing(rows.filter(memberships__cluster_id__in=[x.pk for x in leaves]), known)
