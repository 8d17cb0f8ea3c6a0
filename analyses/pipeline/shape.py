"""How many clusters, levels and calls a number of conversations makes: rules without numerics."""

from __future__ import annotations

import math

SQRT_UP_TO = 10_000
"""Up to here k grows as the square root of n, above as n/100; both give 100 at 10,000."""

PER_CLUSTER = 100
"""Conversations per cluster above :data:`SQRT_UP_TO` (the cost example of arXiv 2412.13678)."""

FLAT_UP_TO = 3
"""Up to this many clusters a theme above them would hold one or two: they are the themes."""

TWO_LEVELS_UP_TO = 150
"""Up to this many clusters a reader finds one through a dozen themes."""

TOP_LOW, TOP_HIGH = 3, 12
"""Fewest and most themes aimed at; the paper shows about ten (arXiv 2412.13678, Tables 1-3)."""

TOP_PER_ROOT = 1.35
"""Themes per square root of the number of clusters: 35 clusters make 8 themes of 4 or 5."""

NEIGHBOURHOOD = 40
"""Clusters shown together when parents are proposed (arXiv 2412.13678, section G.7)."""

LOW, HIGH = 0.5, 1.5
"""Bounds of the number of parents as multiples of the target (same section)."""

NEARBY = 8
"""Names from outside the neighbourhood shown as contrast."""

PLACED_PER_CALL = 20
"""Children placed by one call; one each, as in the paper, costs the list of parents each time."""


def default_k(rows: int) -> int:
    """Number of clusters for ``rows`` conversations: about sqrt(n), n/100 above 10,000."""
    if rows <= 2:
        return min(rows, 1)
    if rows <= SQRT_UP_TO:
        return round(math.sqrt(rows))
    return round(rows / PER_CLUSTER)


def level_targets(base: int, levels: int | None, top: int | None) -> list[int]:
    """Wanted sizes of the levels above ``base`` clusters, from the lowest up.

    They are geometric as in arXiv 2412.13678, section G.7: the ratio between neighbouring levels
    is ``(n_top / n_base) ** (1 / (L - 1))``.
    """
    if base <= FLAT_UP_TO or levels == 1:
        return []
    height = levels or (2 if base <= TWO_LEVELS_UP_TO else 3)
    wanted = top or min(TOP_HIGH, max(TOP_LOW, round(TOP_PER_ROOT * math.sqrt(base))))
    first = max(2, min(wanted, base // 2))
    ratio = (first / base) ** (1 / (height - 1))
    return [max(first, round(base * ratio**step)) for step in range(1, height)]


def bounds(target: int, available: int) -> tuple[int, int]:
    """Fewest and most parents for a target among ``available`` children."""
    high = min(max(2, math.ceil(HIGH * target)), max(1, available))
    return min(max(1, math.floor(LOW * target)), high), high
