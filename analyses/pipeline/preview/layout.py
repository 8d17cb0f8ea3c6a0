"""Provisional map: one round island per cluster, islands of a theme side by side.

No neighbour embedding and no compiler: it has to stand two seconds after a run began. Islands are
arranged by classical scaling of their centroids and pushed apart until they no longer overlap;
inside, conversations near the centroid lie in the middle.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from analyses.pipeline.base import Labels, Matrix
from analyses.pipeline.map import beside, circle, plane
from analyses.pipeline.preview.types import Rows

FILL = 0.34
"""Share of the picture that islands cover; measured by eye: separate, yet not lost in space."""

GAP_THEME = 1.5
"""Distance between islands of two themes, as a multiple of the sum of their radii."""

GAP_CLUSTER = 0.95
"""The same within one theme: islands of a theme may touch."""

ROUNDS = 160
"""Steps of pushing apart; forty islands come to rest in about a hundred."""

CORE = 0.4
"""Standard deviation of an island's points, in radii: nine of ten lie within the radius."""

OWN = 0.8
"""How much of a dot's place in its island is meaning; the rest is scatter, which rounds it."""

GOLDEN = (0.7548776662466927, 0.5698402909980532)
"""Steps of the R2 sequence (Roberts 2018), which fills a square evenly from any start."""


def arrange(
    centroids: Matrix, sizes: Labels, themes: Labels, known: Matrix | None = None
) -> tuple[Matrix, Matrix]:
    """Centres ``(k, 2)`` and radii ``(k,)`` of the islands, within [-1, 1].

    ``known`` holds the centres of the previous picture, NaN for new islands: those stay about
    where they were, new ones begin beside the islands they resemble.
    """
    count = centroids.shape[0]
    share = np.maximum(sizes, 1) / max(int(np.maximum(sizes, 1).sum()), 1)
    radii = np.sqrt(4 * FILL * share / np.pi)
    centres = _start(centroids, themes, known)
    for step in range(ROUNDS if count > 1 else 0):
        centres = _push(centres, radii, themes, pull=0.02 * (1 - step / ROUNDS))
    return _fit(centres, radii)


def cloud(vectors: Matrix, centroid: Matrix, centre: Matrix, radius: float) -> Matrix:
    """Places of one cluster's rows in its island: a round cloud, densest in the middle.

    Like rows lie on the same side: each axis is a main direction of the cluster, its values
    replaced by normal quantiles of their ranks, so that no outlier stretches the island.
    """
    size = vectors.shape[0]
    if size == 1:
        return np.asarray(centre, dtype=np.float32).reshape(1, 2)
    axes = _plane(vectors - centroid)
    own = np.column_stack([ndtri(_ranks(axes[:, 0])), ndtri(_ranks(axes[:, 1]))])
    turn, depth = _even(np.arange(size, dtype=np.int64))
    scatter = _polar(turn, np.sqrt(-2 * np.log1p(-0.98 * depth)))
    offsets = OWN * own + np.sqrt(1 - OWN**2) * scatter
    far = np.maximum(np.linalg.norm(offsets, axis=1, keepdims=True) / 2.6, 1)
    places = centre + offsets / far * (CORE * radius)
    return np.asarray(np.clip(places, -1, 1), dtype=np.float32)


def join(vectors: Matrix, places: Matrix, newcomers: Matrix, rows: Rows, spacing: float) -> Matrix:
    """Places for rows that come later, near the rows they resemble; nobody else moves.

    ``rows`` are the newcomers' identities: each gets its own small shift (evenly spread),
    so that equal texts do not hide each other and a replay places them the same.
    """
    near = beside(vectors, places, newcomers, 3)
    turn, depth = _even(rows)
    shift = _polar(turn, spacing * np.sqrt(depth))
    return np.asarray(np.clip(near + shift, -1, 1), dtype=np.float32)


def _start(centroids: Matrix, themes: Labels, known: Matrix | None) -> Matrix:
    """First centres: known ones as they were, the others by classical scaling."""
    scaled = _scaling(centroids, themes)
    if known is None:
        return scaled
    kept = np.asarray(np.isfinite(known).all(axis=1), dtype=np.bool_)
    if not kept.any():
        return scaled
    start = np.where(kept[:, None], known, 0).astype(np.float32)
    if not kept.all():
        start[~kept] = beside(centroids[kept], known[kept], centroids[~kept], 3)
        # A nudge outwards: two islands at one spot have no direction to be pushed apart in.
        start[~kept] += 0.05 * circle(int((~kept).sum()))
    return start


def _scaling(centroids: Matrix, themes: Labels) -> Matrix:
    """Classical scaling (Torgerson 1952) of the centroids, themes drawn together."""
    count = centroids.shape[0]
    if count < 3:
        return circle(count) if count > 1 else np.zeros((count, 2), dtype=np.float32)
    middles = np.stack([centroids[themes == theme].mean(axis=0) for theme in themes])
    mixed = centroids + middles
    places = plane(mixed - mixed.mean(axis=0))
    widest = np.maximum(np.abs(places).max(axis=0), 1e-6)
    return np.asarray(0.7 * places / widest + 0.01 * circle(count), dtype=np.float32)


def _push(centres: Matrix, radii: Matrix, themes: Labels, pull: float) -> Matrix:
    """One step: overlapping islands move apart, a theme's islands and all of them draw near."""
    apart = centres[:, None, :] - centres[None, :, :]
    distance = np.sqrt((apart**2).sum(axis=2)) + 1e-9
    same = np.asarray(themes[:, None] == themes[None, :], dtype=np.bool_)
    wanted = (radii[:, None] + radii[None, :]) * np.where(same, GAP_CLUSTER, GAP_THEME)
    overlap = np.maximum(wanted - distance, 0)
    np.fill_diagonal(overlap, 0)
    # The smaller island of a pair gives way, or small ones would be shaken by each large one.
    yields = radii[None, :] / (radii[:, None] + radii[None, :])
    moved = (apart / distance[:, :, None] * (overlap * yields)[:, :, None]).sum(axis=1) * 0.6
    middle = (same[:, :, None] * centres[None, :, :]).sum(axis=1) / same.sum(axis=1)[:, None]
    step = moved + pull * 4 * (middle - centres) - pull * centres
    return np.asarray(centres + step, dtype=np.float32)


def _fit(centres: Matrix, radii: Matrix) -> tuple[Matrix, Matrix]:
    """Shift and shrink the picture as one until every island lies within [-1, 1]."""
    if centres.shape[0] == 0:
        return np.zeros((0, 2), dtype=np.float32), np.zeros(0, dtype=np.float32)
    low = (centres - radii[:, None]).min(axis=0)
    high = (centres + radii[:, None]).max(axis=0)
    half = np.maximum((high - low) / 2, 1e-6)
    placed = (centres - (low + high) / 2) / half * 0.92
    return placed.astype(np.float32), (radii / half.max() * 0.92).astype(np.float32)


def _plane(centred: Matrix) -> Matrix:
    """The rows on about their two main axes, by subspace iteration: exact would buy nothing."""
    width = centred.shape[1]
    turn, depth = _even(np.arange(width, dtype=np.int64))
    basis = np.column_stack([turn - 0.5, depth - 0.5]).astype(np.float32)
    step = max(1, centred.shape[0] // 400)
    sample = centred[::step]
    for _ in range(6 if width > 1 else 0):
        basis = np.linalg.qr(sample.T @ (sample @ basis) + 1e-9 * basis)[0]
    return np.asarray(centred @ basis, dtype=np.float32)


def _even(rows: Rows) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Two numbers in [0, 1) per row, evenly spread over all rows."""
    return np.mod((rows + 1) * GOLDEN[0], 1.0), np.mod((rows + 1) * GOLDEN[1], 1.0)


def _polar(
    turn: npt.NDArray[np.float64], reach: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Points at ``turn`` (1 is a full circle) and distance ``reach``, shape ``(n, 2)``."""
    angle = 2 * np.pi * turn
    return np.column_stack([np.cos(angle), np.sin(angle)]) * reach[:, None]


def _ranks(values: Matrix) -> npt.NDArray[np.float64]:
    """Rank of each value as a share in (0, 1); ties by row."""
    order = np.argsort(values, kind="stable")
    ranks = np.empty(values.shape[0], dtype=np.float64)
    ranks[order] = (np.arange(values.shape[0]) + 0.5) / values.shape[0]
    return ranks
