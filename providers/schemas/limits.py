"""What the JSON door of limits takes and gives."""

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


class UseOut(Schema):
    """A limit of use and what was used of it; no limit is null.

    ``tokens`` are those of today (UTC), ``reserved`` the most that calls now out can take on top,
    ``requests`` those of the running minute.
    """

    scope: str
    name: str = Field(alias="who")
    requests_per_minute: int | None = Field(alias="limit.requests_per_minute")
    tokens_per_day: int | None = Field(alias="limit.tokens_per_day")
    requests: int
    tokens: int
    reserved: int


class UseIn(Schema):
    """A limit of use to set; both numbers null end it. ``scope`` is ``user:<id>``, ``key:<id>`` or
    ``project:<id>``."""

    scope: str = Field(max_length=40, pattern=r"^(user|key|project):\d{1,18}$")
    requests_per_minute: int | None = Field(default=None, ge=0, le=2**31 - 1)
    tokens_per_day: int | None = Field(default=None, ge=0, le=2**50)
