"""One view of Explore, as its address describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analyses.models import AnalysisSession
from analyses.pipeline.privacy import scale_floors
from analyses.plan import RunParams
from analyses.selectors.facts import Fact, apply_filters, facts_of
from analyses.selectors.filters import Filters, filters_of, language_name
from analyses.selectors.listing import (
    Listing,
    Page,
    Place,
    RowListing,
    item_rows,
    listing_of,
    needs_picture,
)
from analyses.selectors.mapdata import picture
from analyses.selectors.reading import Reading, item_for, reading_of
from analyses.selectors.tree import Node, Tree, tree_of
from core import figures
from core.errors import NotFound

PANES = ("tree", "map", "read")
FEW_FOR_A_MAP = 50
"""Under this many conversations a map says nothing and the list is shown alone."""


@dataclass(frozen=True, slots=True)
class Exploration:
    """Everything the page shows. Either ``page`` (a list) or ``reading`` is set."""

    session: AnalysisSession
    tree: Tree
    node: Node | None
    filters: Filters
    total: int
    page: Page | None
    reading: Reading | None
    place: Place | None
    facts: list[Fact]
    pane: str
    floor: int

    @property
    def too_few(self) -> bool:
        """Whether there are too few conversations for a map."""
        return self.session.read_count < FEW_FOR_A_MAP

    @property
    def hidden_text(self) -> str:
        """How much is withheld, in words; empty when nothing is."""
        return hidden_text(self.tree, self.floor)


def hidden_text(tree: Tree, floor: int) -> str:
    """How many groups are withheld and why, in words; empty when none is."""
    if not tree.hidden_groups:
        return ""
    if tree.provisional:
        return f"{tree.hidden_groups:,} still too small to show"
    if tree.reasons <= {"conversations"}:
        return f"{tree.hidden_groups:,} hidden below {floor} conversations"
    return f"{tree.hidden_groups:,} hidden for privacy"


def floor_of(session: AnalysisSession) -> int:
    """The floor on conversations in force: what was asked for, scaled to the data."""
    asked = RunParams.model_validate(session.params or {})
    users = session.dataset.user_count
    floors = scale_floors(
        session.read_count,
        has_users=users > 0,
        distinct_users=users,
        conversations=max(1, asked.floor_conversations),
        users=asked.floor_users,
    )
    return floors.conversations


def explore(session: AnalysisSession, params: Mapping[str, str]) -> Exploration:
    """Read what an address asks for; whatever it names wrongly is left out.

    About eight queries for a list and fourteen for a conversation, whatever the size.
    """
    tree = tree_of(session)
    key = _number(params.get("c"))
    node = None if key is None else tree.by_key.get(key)
    filters = filters_of(session, params)
    floor = floor_of(session)
    if filters.on_rows and not tree.provisional:
        apply_filters(session, tree, filters, floor)
    listing = _listing(session, tree, node, filters)
    position = _number(params.get("i"))
    reading, place = _open(session, tree, listing, position)
    return Exploration(
        session=session,
        tree=tree,
        node=node,
        filters=filters,
        total=listing.count(),
        page=None if reading else listing.page(_number(params.get("after"))),
        reading=reading,
        place=place,
        facts=facts_of(session, node) if node else [],
        pane=_pane(params),
        floor=floor,
    )


def listing_for(session: AnalysisSession, params: Mapping[str, str]) -> Listing:
    """The conversations an address shows, without the rest of the page."""
    tree = tree_of(session)
    key = _number(params.get("c"))
    node = None if key is None else tree.by_key.get(key)
    if key is not None and node is None:
        raise NotFound
    return _listing(session, tree, node, filters_of(session, params))


def _listing(session: AnalysisSession, tree: Tree, node: Node | None, filters: Filters) -> Listing:
    found = picture(session, tree) if needs_picture(tree, node, filters) else None
    return listing_of(session, tree, node, filters, found)


def _open(
    session: AnalysisSession, tree: Tree, listing: Listing, position: int | None
) -> tuple[Reading | None, Place | None]:
    if position is None:
        return None, None
    try:
        reading = reading_of(item_for(session, position), tree)
    except NotFound:
        return None, None
    return reading, listing.place(position)


def _pane(params: Mapping[str, str]) -> str:
    view = params.get("view", "")
    if view in PANES:
        return view
    return "read" if params.get("i") or params.get("after") else "map"


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 10 else None


@dataclass(frozen=True, slots=True)
class ClusterPage:
    """A cluster on a page of its own."""

    tree: Tree
    node: Node
    page: Page
    total: int


def cluster_page(session: AnalysisSession, key: int, after: str | None) -> ClusterPage:
    """A shown cluster with its conversations; :class:`NotFound` for any other."""
    tree = tree_of(session)
    node = tree.by_key.get(key)
    if node is None:
        raise NotFound
    listing = _listing(session, tree, node, Filters())
    return ClusterPage(tree, node, listing.page(_number(after)), listing.count())


def neighbours(session: AnalysisSession, position: int) -> Place | None:
    """Where a conversation stands among all that were read."""
    return RowListing(item_rows(session), session.read_count).place(position)


def card(session: AnalysisSession, position: int) -> dict[str, Any]:
    """What the map shows of one dot: a title and a line below. One query."""
    item = item_rows(session).filter(position=position).first()
    if item is None:
        raise NotFound
    conversation = item.conversation
    parts = [language_name(item.language) if item.language else ""]
    parts.append(figures.count_of(conversation.message_count, "message"))
    if conversation.started_at:
        parts.append(figures.day(conversation.started_at))
    title = item.title or item.summary or conversation.external_id
    return {"title": title[:160], "text": " · ".join(part for part in parts if part)}
