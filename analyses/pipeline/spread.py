"""Room for every dot: a layout whose crowds are widened and whose empty stretches are closed.

A neighbour embedding draws a cluster of like vectors as little more than a point, with nothing
between the points. Here the plane is deformed as in a density-equalising map (Gastner and Newman
2004, PNAS 101(20)): the density of dots diffuses and carries the dots along. Such a deformation is
continuous, so neighbours stay neighbours, and a cloud's area approaches its share of the dots. It
is stopped early, so that clouds remain clouds; at the end dots that touch are moved apart.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.fft import dctn, idctn
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from analyses.pipeline.base import Matrix

Grid = npt.NDArray[np.float64]

CELLS = 128
"""Cells of the density grid along each side; a step of the flow takes 0.5 ms."""

PASSES = 2
"""Flows, each from the density the one before left: the first opens what lay within one cell. A
third fills more of the plane, but joins clusters of one theme."""

FILL = 0.35
"""Share of the plane's density that is dots, the rest being background: how much is left empty.

This, REACH and SCATTER were chosen by looking at 2,000 support chats, 551 chats in eight
languages and 10,000 overlapping groups: 0.25 leaves the clouds lost, 0.5 joins them."""

REACH = 0.08
"""How far density spreads, in widths of the plane: about a cloud; further would tile the plane."""

BEGIN = 0.5
"""Time at which the flow begins, in squares of a cell: the first smoothing of the counts."""

GROWTH = 1.3
"""Each step lasts this much longer than the one before; a tenth (1.1) moves the
median dot by half the distance between dots."""

MARGIN = 0.1
"""Empty border, or clouds at the edge would be pressed flat against it."""

SCATTER = 0.6
"""Standard deviation of each dot's own small shift, in distances between dots: rounds strings."""

SHAKE = 0.002
"""Standard deviation of the shift before the flow, an eighth of a cell: clouds come out round. A
quarter of it leaves strings of dots, and keeps a hundredth more neighbours in their cluster."""

ROUNDS = 3
TOUCHING = 6
"""Rounds of moving touching dots apart, and neighbours looked at in each."""

MOST = 50_000
"""Above this many dots they are smaller than a screen's pixel, and touching does not matter."""

EDGE = 0.94
"""Where the bulk of the points ends; what lies beyond is pressed into the margin up to 1."""

BULK = 0.5
"""Percent at either end that are not the bulk: one stray point must not shrink everything else."""

TAIL = 0.1
"""The same once strays have been drawn near: less of the outer clouds is bent."""

TURN = np.pi * (3 - np.sqrt(5))
"""The golden angle: points of a spiral turned by it are evenly spread (Vogel 1979)."""


def spread(xy: Matrix, seed: int) -> Matrix:
    """Widen the crowds of ``xy`` ``(n, 2)``, finite and within [-1, 1]; it stays within.

    Same places and seed, same result. The work grows with n, the memory is a few copies of it.
    """
    dice = np.random.default_rng(seed)
    shape = xy.shape
    # Dots on one spot would share their way through any flow.
    places = xy.astype(np.float64) + SHAKE * dice.normal(size=shape)
    for _ in range(PASSES):
        carried = 2 * _flow((places * (1 - MARGIN) + 1) / 2) - 1
        places = scale(carried, TAIL).astype(np.float64)
    distance = dot_distance(shape[0])
    places += SCATTER * distance * dice.normal(size=shape)
    if shape[0] <= MOST:
        for _ in range(ROUNDS):
            places = _part(places, distance)
    return scale(places, TAIL)


def dot_distance(size: int) -> float:
    """Distance between ``size`` dots that evenly fill :data:`FILL` of a quarter of the plane."""
    return float(np.sqrt(FILL / max(size, 1)))


def fan_out(xy: Matrix) -> Matrix:
    """Dots on one spot laid out as a spiral around it, in row order; single dots stay.

    A spiral's area is its share of the dots, so a thousand copies look like more than ten.
    """
    spots, home = np.unique(np.round(xy, 5), axis=0, return_inverse=True)
    home = home.ravel()
    order = np.argsort(home, kind="stable")
    counts = np.bincount(home, minlength=len(spots))
    rank = np.empty(len(home), dtype=np.int64)
    rank[order] = np.arange(len(home)) - np.repeat(np.cumsum(counts) - counts, counts)
    angle = rank * TURN
    reach = np.where(rank > 0, dot_distance(len(home)) * np.sqrt(rank), 0)
    reach = np.minimum(reach, 0.3)
    shift = np.column_stack([np.cos(angle), np.sin(angle)]) * reach[:, None]
    return np.asarray(xy + shift, dtype=np.float32)


def scale(xy: Matrix | Grid, tail: float = BULK) -> Matrix:
    """Fit points into [-1, 1] on both axes without letting strays shrink the rest.

    The bulk of each axis is stretched to +-0.94; what lies outside is bent into the margin, order
    kept. ``tail`` is the share outside at either end, in percent. Coordinates that are not finite go to the middle.
    """
    points = np.asarray(xy, dtype=np.float64)
    if points.shape[0] == 0:
        return np.zeros((0, 2), dtype=np.float32)
    middle = np.nanmedian(np.where(np.isfinite(points), points, np.nan), axis=0)
    points = np.where(np.isfinite(points), points, np.nan_to_num(middle))
    low, high = np.percentile(points, (tail, 100 - tail), axis=0)
    half = np.maximum((high - low) / 2, 1e-9)
    points = (points - (low + high) / 2) / half * EDGE
    over = np.abs(points) - EDGE
    margin = 1 - EDGE
    bent = np.sign(points) * (EDGE + margin * np.tanh(np.maximum(over, 0) / margin))
    return np.asarray(np.clip(np.where(over > 0, bent, points), -1, 1), dtype=np.float32)


def _flow(places: Grid) -> Grid:
    """Carry ``places`` in the unit square along the diffusion of their own density."""
    spectrum = dctn(_density(places), norm="ortho")
    wave = (np.pi * np.arange(CELLS) / CELLS) ** 2
    decay = wave[:, None] + wave[None, :]
    points = places * CELLS
    now, end = BEGIN, (REACH * CELLS) ** 2
    while now < end:
        step = (GROWTH - 1) * now
        density = np.maximum(idctn(spectrum * np.exp(-decay * now), norm="ortho"), 1e-6)
        at = (points - 0.5).T
        for axis in (0, 1):
            speed = -_slope(density, axis) / density
            points[:, axis] += step * map_coordinates(speed, at, order=1, mode="nearest")
        points = np.clip(points, 0, CELLS)
        now += step
    return np.asarray(points / CELLS, dtype=np.float64)


def _density(places: Grid) -> Grid:
    """Dots per cell over a background, mean one."""
    cell = np.clip((places * CELLS).astype(np.int64), 0, CELLS - 1)
    counts = np.bincount(cell[:, 0] * CELLS + cell[:, 1], minlength=CELLS * CELLS)
    share = counts.reshape(CELLS, CELLS) * (CELLS * CELLS / max(len(places), 1))
    return np.asarray(FILL * share + (1 - FILL), dtype=np.float64)


def _slope(density: Grid, axis: int) -> Grid:
    """Central differences along ``axis``; none at the border, which nothing may cross."""
    slope = np.zeros_like(density)
    inner = np.moveaxis(slope, axis, 0)
    ordered = np.moveaxis(density, axis, 0)
    inner[1:-1] = (ordered[2:] - ordered[:-2]) / 2
    return slope


def _part(places: Grid, distance: float) -> Grid:
    """Move dots nearer than ``distance`` apart, each by half of what is missing at most."""
    # The first hit is the dot itself; with fewer dots than asked for, the rest are infinitely far.
    ranks = list(range(2, TOUCHING + 2))
    gaps, others = cKDTree(places).query(places, k=ranks, distance_upper_bound=distance)
    near = np.isfinite(gaps)
    away = places[:, None, :] - places[np.where(near, others, 0)]
    missing = np.where(near, distance - gaps, 0) / np.maximum(gaps, 1e-9)
    crowd = np.sqrt(np.maximum(near.sum(axis=1), 1))
    return np.asarray(places + 0.4 * (missing[:, :, None] * away).sum(axis=1) / crowd[:, None])
