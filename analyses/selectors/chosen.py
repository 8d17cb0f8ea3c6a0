"""Selections: what a list, a number of things or a filter of Explore stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.db.models import QuerySet

from analyses.models import AnalysisItem, AnalysisSession
from analyses.selectors.explore import listing_for
from analyses.selectors.listing import ArrayListing, RowListing
from core.errors import Invalid
from projects.models import Dataset, Project

MOST_POSITIONS = 30_000
"""Positions named in one statement; databases bound the number of parameters."""


def sessions(
    project: Project, numbers: Sequence[int] | None, matching: Mapping[str, str]
) -> QuerySet[AnalysisSession]:
    """Analyses by number, or those whose name and state match. Not those in the trash."""
    rows = AnalysisSession.objects.kept().filter(project=project).order_by("pk")
    if numbers is not None:
        return rows.filter(number__in=numbers)
    return rows.filter(**conditions(matching))


def datasets(
    project: Project, numbers: Sequence[int] | None, matching: Mapping[str, str]
) -> QuerySet[Dataset]:
    """Data sets by number, or those whose name and state match. Not those in the trash."""
    rows = project.datasets.filter(deleted_at=None).order_by("pk")
    if numbers is not None:
        return rows.filter(number__in=numbers)
    return rows.filter(**conditions(matching))


def conditions(matching: Mapping[str, str]) -> dict[str, str]:
    """The filters of a list of data sets or analyses. Raises ``Invalid`` for others."""
    known = {"q": "name__icontains", "status": "status"}
    unknown = matching.keys() - known.keys()
    if unknown:
        raise Invalid(fields={"filter": f"There is no filter {sorted(unknown)[0]}."})
    return {known[key]: value for key, value in matching.items() if value}


def items(
    session: AnalysisSession, positions: Sequence[int] | None, matching: Mapping[str, str]
) -> QuerySet[AnalysisItem]:
    """Conversations of an analysis by position, or those an address of Explore shows.

    Without positions and filter: all of them, also those that were not read.
    """
    rows = session.items.order_by("position")
    if positions is not None:
        return rows.filter(position__in=positions)
    if not any(matching.values()):
        return rows
    listing = listing_for(session, matching)
    if isinstance(listing, RowListing):
        return rows.filter(pk__in=listing.rows.order_by().values("pk"))
    assert isinstance(listing, ArrayListing)
    found = [int(position) for position in listing.positions]
    if len(found) > MOST_POSITIONS:
        raise Invalid(fields={"filter": "The area holds too many. Choose clusters instead."})
    return rows.filter(position__in=found)
