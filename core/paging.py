"""Pages by keyset: a cursor is the last number seen, so nothing is skipped or repeated."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import models

from core.errors import Invalid

Row = TypeVar("Row", bound=models.Model)

MOST = 200

MAX_DIGITS = 18
"""Longer cursors fit no column."""


def page(
    rows: models.QuerySet[Row],
    cursor: str | None,
    limit: int,
    *,
    newest_first: bool = True,
    by: str = "pk",
) -> dict[str, Any]:
    """``{"items", "next"}``: at most ``limit`` rows after ``cursor``. Raises ``Invalid``.

    ``by`` is a number that is unique among the rows; the cursor is its last value seen.
    """
    limit = max(1, min(MOST, limit))
    if cursor:
        if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= MAX_DIGITS):
            raise Invalid(fields={"cursor": "This is not a cursor we gave out."})
        rows = rows.filter(**{f"{by}__{'lt' if newest_first else 'gt'}": int(cursor)})
    found = list(rows.order_by(f"-{by}" if newest_first else by)[: limit + 1])
    more = len(found) > limit
    return {"items": found[:limit], "next": str(getattr(found[limit - 1], by)) if more else None}
