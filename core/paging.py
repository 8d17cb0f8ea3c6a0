"""Pages by keyset: a cursor is the last primary key seen, so nothing is skipped or repeated."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import models

from core.errors import Invalid

Row = TypeVar("Row", bound=models.Model)

MOST = 200


def page(
    rows: models.QuerySet[Row], cursor: str | None, limit: int, *, newest_first: bool = True
) -> dict[str, Any]:
    """``{"items", "next"}``: at most ``limit`` rows after ``cursor``. Raises ``Invalid``."""
    limit = max(1, min(MOST, limit))
    if cursor:
        if not cursor.isdigit():
            raise Invalid(fields={"cursor": "This is not a cursor we gave out."})
        rows = rows.filter(pk__lt=int(cursor)) if newest_first else rows.filter(pk__gt=int(cursor))
    found = list(rows.order_by("-pk" if newest_first else "pk")[: limit + 1])
    more = len(found) > limit
    return {"items": found[:limit], "next": str(found[limit - 1].pk) if more else None}
