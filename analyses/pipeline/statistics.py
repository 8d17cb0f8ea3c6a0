"""Intervals and tests the insights, the report and the pages rest on.

Everything here is a plain function of counts. One-sided exact tests are used throughout: the
groups of an analysis are small, and an insight only ever claims "more than elsewhere".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Z95 = 1.959963984540054
"""Two-sided 95 % point of the standard normal distribution."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A closed interval, both ends as shares (or differences of shares)."""

    low: float
    high: float


def wilson(count: int, total: int, z: float = Z95) -> Interval:
    """Interval of a share, ``count`` of ``total`` (Wilson 1927, JASA 22, 209-212).

    Unlike the textbook interval it stays within [0, 1] and is honest for small counts.
    ``total == 0`` says nothing, so the interval is [0, 1].
    """
    if total <= 0:
        return Interval(0.0, 1.0)
    share = count / total
    scale = 1 + z * z / total
    centre = (share + z * z / (2 * total)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def newcombe(count: int, total: int, other: int, other_total: int, z: float = Z95) -> Interval:
    """Interval of the difference of two independent shares, first minus second.

    Newcombe 1998, Statistics in Medicine 17, 873-890, method 10: square-and-add of the two
    Wilson intervals.
    """
    if total <= 0 or other_total <= 0:
        return Interval(-1.0, 1.0)
    first, second = count / total, other / other_total
    a, b = wilson(count, total, z), wilson(other, other_total, z)
    difference = first - second
    low = difference - math.hypot(first - a.low, b.high - second)
    high = difference + math.hypot(a.high - first, second - b.low)
    return Interval(low, high)


def enrichment(count: int, group: int, marked: int, total: int) -> float:
    """Chance of ``count`` or more marked items in a group drawn without regard to the mark.

    ``group`` and ``marked`` of ``total`` items are in the group and carry the mark. This is the
    one-sided Fisher exact test (hypergeometric tail).
    """
    if count <= 0:
        return 1.0
    return float(min(1.0, stats.hypergeom.sf(count - 1, total, marked, group)))


def enrichments(
    counts: npt.NDArray[np.int64], group: int, marked: npt.NDArray[np.int64], total: int
) -> npt.NDArray[np.float64]:
    """:func:`enrichment` for many windows at once; ``counts`` and ``marked`` have one shape."""
    tail = stats.hypergeom.sf(counts - 1, total, marked, group)
    return np.asarray(np.minimum(1.0, tail), dtype=np.float64)


def more_often(count: int, days: float, before: int, days_before: float) -> float:
    """Chance of a rate this much above the earlier one when both rates are the same.

    Conditional test of two Poisson rates (Przyborowski and Wilenski 1940, Biometrika 31, 313):
    given the sum, ``count`` is binomial with the share of the time.
    """
    if count <= 0 or days <= 0:
        return 1.0
    share = days / (days + max(days_before, 0.0))
    return float(stats.binom.sf(count - 1, count + before, share))


def discoveries(p_values: npt.ArrayLike, rate: float = 0.05) -> npt.NDArray[np.bool_]:
    """Which of many tests count as found when at most ``rate`` of the finds may be false.

    Benjamini and Hochberg 1995, JRSS B 57, 289-300: the step-up procedure.
    """
    values = np.asarray(p_values, dtype=np.float64)
    found = np.zeros(values.shape[0], dtype=np.bool_)
    if values.size == 0:
        return found
    order = np.argsort(values, kind="stable")
    limits = rate * np.arange(1, values.size + 1) / values.size
    passed = np.flatnonzero(values[order] <= limits)
    if passed.size:
        found[order[: passed[-1] + 1]] = True
    return found
