"""What the JSON door of spending limits takes and gives."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from ninja import Field, Schema


class SpendingOut(Schema):
    """Limit and sums of one period (UTC) in US dollars; no limit is null.

    ``spent`` is settled, ``doubt`` the estimate of calls that were cut off, which counts as spent,
    ``reserved`` the most that calls now out can cost.
    """

    period: str
    limit: Decimal | None
    spent: Decimal = Field(alias="sums.spent")
    doubt: Decimal = Field(alias="sums.doubt")
    reserved: Decimal = Field(alias="sums.reserved")


class PlaceOut(Schema):
    """The workspace, where ``project`` is null, or one of its projects."""

    name: str = Field(alias="place.name")
    project: str | None
    periods: list[SpendingOut]

    @staticmethod
    def resolve_project(row: object) -> str | None:
        """The project's slug."""
        slug: str = getattr(row, "place").slug  # noqa: B009 - a row of another type to the checker
        return slug or None


class LimitIn(Schema):
    """A limit to set; without ``project`` it is the workspace's, with ``amount`` null it goes."""

    project: str | None = None
    period: Literal["day", "month"]
    amount: Decimal | None = Field(ge=0, le=1_000_000, decimal_places=6)
