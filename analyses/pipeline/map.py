"""The map: one point per conversation, near when they speak of near things.

PaCMAP (Wang, Huang, Rudin and Shaposhnik 2021, JMLR 22(201)) lays out at most 50,000 landmarks;
the rest are placed among their nearest landmarks. Then every dot gets its room (``spread.py``).

Where the themes are known, each row is first pulled a little towards its theme, so that themes are
regions of the map. It costs no faithfulness: the 15 nearest dots of a dot are as often near in the
vectors as without it (trustworthiness 0.98 against 0.97 on 1,200 chats, 0.98 against 0.96 on 2,000), because a
plane has no room to keep all the distances and this says which ones matter. PaCMAP's compiled parts are built at the first import
of the package and kept on disk by numba (in ``NUMBA_CACHE_DIR`` or beside the package), so that
later processes start in well under a second. :func:`warm` does that import; call it from a process
of its own at set-up: ``python -m analyses.pipeline.map``. A server that forks must not call it,
because numba's OpenMP threads do not survive a fork.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator
from typing import ClassVar

import numpy as np
from pydantic import Field
from scipy import sparse

from analyses.pipeline.base import Context, Labels, Matrix, StageParams
from analyses.pipeline.neighbours import nearest
from analyses.pipeline.records import Layout, MapInputs
from analyses.pipeline.spread import fan_out, scale, spread

SMALL = 15
"""Below this many points neighbourhoods mean nothing to PaCMAP; a plane through them does."""

FAR_PAIRS = 1.0
"""PaCMAP's FP_ratio. Its default of 2 pushes harder and draws clusters of 30 as short strings."""

PULL = 0.7
"""How far rows are moved towards their theme, in standard deviations of all rows. By eye: 0.4 leaves
themes in pieces, 1 looks much the same."""

BLOCK = 8_192
"""Rows moved at once."""

_lock = threading.Lock()
"""PaCMAP keeps its random state in a module global, so only one fit may run at a time."""


class MapParams(StageParams):
    """How the map is drawn. ``neighbours`` is PaCMAP's n_neighbors.

    Its authors' default is 10; 15 makes small clusters round and keeps as many neighbours.
    """

    landmarks: int = Field(default=50_000, ge=SMALL, le=200_000)
    neighbours: int = Field(default=15, ge=2, le=100)
    anchors: int = Field(default=8, ge=1, le=50)


class MapStage:
    """Vectors in, coordinates in [-1, 1] out, as one :class:`Layout`."""

    key: ClassVar[str] = "map"
    version: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("embed", "cluster")
    Params: ClassVar[type[StageParams]] = MapParams

    def __init__(self, params: MapParams | None = None) -> None:
        self.params = params or MapParams()

    async def run(self, inputs: MapInputs, context: Context) -> AsyncIterator[Layout]:
        """Yield the layout. It follows the vectors; the labels only say which belong together."""
        context.check()
        total = int(inputs.vectors.shape[0])
        context.report(0, total)
        work = (inputs.vectors, self.params, context.seed, inputs.labels)
        layout = await context.compute(draw, *work)
        context.check()
        context.report(total, total)
        yield layout


def draw(vectors: Matrix, params: MapParams, seed: int, labels: Labels | None = None) -> Layout:
    """Lay out ``vectors`` (``(n, d)``, any scale). Same input, parameters and seed, same map.

    ``labels`` are the rows' themes, negative for none; fewer than two themes guide nothing.
    """
    rows = unit(vectors)
    size = rows.shape[0]
    distinct = 0 if size < SMALL else _distinct(rows, SMALL)
    if distinct < SMALL:
        return _simple(rows, seed)
    if labels is not None:
        rows = pulled(rows, labels)
    if size <= params.landmarks:
        placed, method = _pacmap(rows, params.neighbours, seed), "pacmap"
    else:
        placed = _by_landmarks(rows, params, seed)
        method = f"pacmap, {params.landmarks:,} landmarks"
    return Layout(xy=spread(scale(placed), seed), method=method)


def _by_landmarks(rows: Matrix, params: MapParams, seed: int) -> Matrix:
    """PaCMAP's layout of some rows, the others beside the ones they resemble, unscaled."""
    size = rows.shape[0]
    chosen = np.sort(np.random.default_rng(seed).permutation(size)[: params.landmarks])
    placed = _pacmap(rows[chosen], params.neighbours, seed)
    xy = np.empty((size, 2), dtype=np.float32)
    xy[chosen] = placed
    others = np.setdiff1d(np.arange(size), chosen, assume_unique=True)
    xy[others] = beside(rows[chosen], placed, rows[others], params.anchors)
    return xy


def pulled(rows: Matrix, labels: Labels) -> Matrix:
    """Unit ``rows`` moved by :data:`PULL` in the direction of their theme's mean.

    ``labels`` is ``(n,)``. Directions count from the mean of all rows: models whose vectors all
    lie in a narrow cone have means that differ little, and would otherwise not be pulled apart.
    """
    member = np.flatnonzero(np.asarray(labels) >= 0)
    themes, theme = np.unique(np.asarray(labels)[member], return_inverse=True)
    if themes.size < 2:
        return rows
    centre = rows.mean(axis=0)
    deviation = float(np.sqrt(np.einsum("ij,ij->i", rows, rows).mean() - centre @ centre))
    cells = (np.ones(member.size, np.float32), (theme, member))
    sums = sparse.csr_matrix(cells, shape=(themes.size, rows.shape[0])) @ rows
    towards = unit(sums / np.bincount(theme)[:, None] - centre)
    towards *= PULL * deviation
    moved = rows.copy()
    for start in range(0, member.size, BLOCK):
        block = slice(start, start + BLOCK)
        moved[member[block]] += towards[theme[block]]
    return _scaled(moved)


def unit(vectors: Matrix) -> Matrix:
    """Rows of length one; rows that are not finite or have no length become zero."""
    clean = np.array(vectors, dtype=np.float32)
    np.nan_to_num(clean, copy=False, posinf=0.0, neginf=0.0)
    return _scaled(clean)


def _scaled(rows: Matrix) -> Matrix:
    """Rows of length one, in place: for 100,000 of them every copy is 40 MB."""
    length = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    rows /= np.maximum(length, 1e-12)
    return rows


def beside(items: Matrix, places: Matrix, queries: Matrix, anchors: int) -> Matrix:
    """Place each query among its nearest ``items``: their places, averaged by similarity.

    ``items`` ``(m, d)`` and ``queries`` ``(n, d)`` are unit rows, ``places`` is ``(m, 2)``.
    The weights fall steeply, so a query near one item lands there and not half-way to the next
    island.
    """
    found, scores = nearest(items, queries, anchors)
    weights = np.exp((scores - scores[:, :1]) * 20.0)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.asarray(np.einsum("nk,nkc->nc", weights, places[found]), dtype=np.float32)


def warm() -> None:
    """Compile PaCMAP, or load what an earlier process compiled; see the module's text."""
    rows = np.random.default_rng(0).normal(size=(SMALL * 4, 8)).astype(np.float32)
    _pacmap(rows, 5, 0)


def _distinct(rows: Matrix, enough: int) -> int:
    """How many different rows there are; stops counting at ``enough``."""
    seen: set[bytes] = set()
    for row in rows:
        seen.add(row.tobytes())
        if len(seen) >= enough:
            break
    return len(seen)


def _pacmap(rows: Matrix, neighbours: int, seed: int) -> Matrix:
    """PaCMAP's layout of at least :data:`SMALL` rows, unscaled."""
    # Imported late: the first import on a machine compiles for about 15 s, and numba is needed
    # nowhere else.
    import numba
    import pacmap

    # The gradient is sequential; waiting OpenMP threads only burn CPU (10.4 s instead of 16.7 s
    # for 50,000 points on two busy cores). The setting holds for this thread alone.
    numba.set_num_threads(1)
    logging.getLogger("pacmap.pacmap").setLevel(logging.ERROR)
    count = max(2, min(neighbours, rows.shape[0] // 4))
    with _lock:
        mapper = pacmap.PaCMAP(
            n_components=2, n_neighbors=count, random_state=seed % 2**31, FP_ratio=FAR_PAIRS
        )
        placed = mapper.fit_transform(rows, init="pca", save_pairs=False)
    return np.asarray(placed, dtype=np.float32)


def _simple(rows: Matrix, seed: int) -> Layout:
    """Layouts for too few points: the middle, a line, a circle, or the plane of most variance."""
    size = rows.shape[0]
    if size < 2:
        return Layout(xy=np.zeros((size, 2), dtype=np.float32), method="middle")
    if size == 2:
        return Layout(xy=np.array([[-0.5, 0], [0.5, 0]], dtype=np.float32), method="line")
    centred = rows - rows.mean(axis=0)
    if rows.shape[1] < 2 or float(np.abs(centred).max()) < 1e-6:
        return Layout(xy=circle(size), method="circle")
    places = scale(plane(centred))
    xy = scale(fan_out(places)) if size < SMALL else spread(places, seed)
    return Layout(xy=xy, method="principal components")


def circle(size: int) -> Matrix:
    """``size`` points evenly on a circle of radius 0.6: for points that nothing tells apart."""
    angle = np.arange(size) * (2 * np.pi / max(size, 1))
    return (0.6 * np.column_stack([np.cos(angle), np.sin(angle)])).astype(np.float32)


def plane(centred: Matrix) -> Matrix:
    """First two principal components of centred rows, ``(n, 2)``, signs fixed.

    Singular vectors have no sign of their own, so each axis is turned until its largest entry is
    positive; otherwise two machines could draw mirror images.
    """
    left, spread, _ = np.linalg.svd(centred, full_matrices=False)
    axes = left[:, :2] * spread[:2]
    if axes.shape[1] < 2:
        axes = np.column_stack([axes, np.zeros(axes.shape[0])])
    peak = axes[np.argmax(np.abs(axes), axis=0), np.arange(2)]
    return np.asarray(axes * np.where(peak < 0, -1, 1), dtype=np.float32)


if __name__ == "__main__":
    warm()
