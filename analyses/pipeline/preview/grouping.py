"""Provisional clusters that keep their identity from one preview to the next."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.optimize import linear_sum_assignment

from analyses.pipeline.base import Labels, Matrix
from analyses.pipeline.preview.types import PreviewResult, Rows

MOST = 40
"""More provisional clusters than this cannot be followed while they change."""

SAMPLE = 4_000
"""Rows the centroids are fitted on; forty centroids need no more."""

SAME = 0.5
"""Share of the smaller side that has to be common for a cluster to count as the same one."""

BETTER = 0.97
"""A fresh start has to be this much tighter before it may cost clusters their identity."""

TINY = 0.15
"""Clusters below this share of the average size are strays, not a group one could name."""

THEMES = 10
"""Theme hues in the design's palette."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """Clusters by index ``0 … k-1``: their rows, keys and how much of each is as it was.

    ``steady[i]`` is the share of common rows (of the union) with the cluster of the same key
    before, 0 for a new one.
    """

    labels: Labels
    centroids: Matrix
    keys: tuple[int, ...]
    steady: tuple[float, ...]


def wanted(size: int) -> int:
    """How many provisional clusters ``size`` conversations get."""
    return 1 if size < 4 else min(math.ceil(math.sqrt(size)), MOST)


def earlier(rows: Rows, previous: PreviewResult | None) -> npt.NDArray[np.int64]:
    """For each row its place in ``previous``, or -1 when it is new there."""
    if previous is None or previous.rows.size == 0:
        return np.full(rows.shape[0], -1, dtype=np.int64)
    order = np.argsort(previous.rows, kind="stable")
    spot = np.searchsorted(previous.rows, rows, sorter=order)
    spot = order[np.minimum(spot, order.size - 1)]
    return np.where(previous.rows[spot] == rows, spot, -1)


def group(
    vectors: Matrix,
    before: npt.NDArray[np.int64],
    previous: PreviewResult | None,
    anew: bool,
    rng: np.random.Generator,
) -> Grouping:
    """Cluster ``vectors`` (unit rows), afresh or from the clusters of ``previous`` onwards.

    ``before`` is what :func:`earlier` found. Old clusters are carried on and grown; with ``anew``
    a fresh start is tried as well and taken if it is clearly better, its clusters matched to the
    old ones by their conversations.
    """
    old = _old_keys(before, previous)
    count = wanted(vectors.shape[0])
    sample = _sample(vectors, rng)
    none = np.zeros((0, vectors.shape[1]), dtype=np.float32)
    if previous is None or not (old >= 0).any():
        return _matched(vectors, lloyd(sample, spread(sample, none, count, rng), 12), old, previous)
    carried = np.unique(old[old >= 0])
    means = directions(np.stack([vectors[old == key].mean(axis=0) for key in carried]))
    centroids = lloyd(sample, spread(sample, means, max(count, carried.size), rng), 4)
    if anew:
        fresh = lloyd(sample, spread(sample, none, count, rng), 12)
        if _looseness(sample, fresh) < BETTER * _looseness(sample, centroids):
            centroids = fresh
    return _matched(vectors, centroids, old, previous)


def _looseness(vectors: Matrix, centroids: Matrix) -> float:
    """Mean cosine distance of the rows from their centroid."""
    return float(1 - (vectors @ centroids.T).max(axis=1).mean())


def lloyd(vectors: Matrix, centroids: Matrix, rounds: int) -> Matrix:
    """Spherical k-means from given centroids; a centroid that loses all its rows stays put.

    Dhillon and Modha 2001, Machine Learning 42, 143-175. Written out because previews start from
    centroids with an identity, which has to survive, index by index.
    """
    for _ in range(rounds):
        labels = assign(vectors, centroids)
        sums = np.zeros_like(centroids)
        np.add.at(sums, labels, vectors)
        lost = np.bincount(labels, minlength=centroids.shape[0]) == 0
        moved = np.where(lost[:, None], centroids, directions(sums))
        if np.allclose(moved, centroids, atol=1e-5):
            break
        centroids = moved
    return centroids


def assign(vectors: Matrix, centroids: Matrix) -> Labels:
    """Index of the most similar centroid, row by row."""
    return np.asarray((vectors @ centroids.T).argmax(axis=1), dtype=np.int32)


def directions(rows: Matrix) -> Matrix:
    """Rows scaled to length one; empty ones stay zero."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, 1e-12), dtype=np.float32)


def spread(vectors: Matrix, start: Matrix, count: int, rng: np.random.Generator) -> Matrix:
    """Add rows to ``start`` until there are ``count`` centroids, far from each other.

    Greedy k-means++ (Arthur and Vassilvitskii 2007, section 7): of a few rows drawn by squared
    distance the one that helps most is taken.
    """
    chosen = list(start)
    gap = np.full(vectors.shape[0], 2.0)
    for centroid in chosen:
        gap = np.minimum(gap, 1 - vectors @ centroid)
    while len(chosen) < count:
        weight = np.maximum(gap, 0)
        if weight.sum() <= 1e-9:
            break
        tries = rng.choice(vectors.shape[0], size=6, p=weight / weight.sum())
        gaps = np.minimum(gap, 1 - vectors[tries] @ vectors.T)
        best = int(gaps.sum(axis=1).argmin())
        chosen.append(vectors[tries[best]])
        gap = gaps[best]
    return np.asarray(chosen or [vectors[0]], dtype=np.float32)


def themes(centroids: Matrix) -> Labels:
    """Theme index per cluster: Ward's linkage cut at about a third as many, at most ten."""
    count = centroids.shape[0]
    goal = count if count <= 3 else min(THEMES, max(3, round(count / 3)))
    if goal == count:
        return np.arange(count, dtype=np.int32)
    return np.asarray(fcluster(linkage(centroids, "ward"), goal, "maxclust") - 1, dtype=np.int32)


def pair_up(old: npt.NDArray[np.int64], new: npt.NDArray[np.int64]) -> dict[int, tuple[int, float]]:
    """Which new group is which old one: ``{new: (old, common share of the union)}``.

    ``old`` and ``new`` label the same rows; the pairing maximises the rows in common (Kuhn 1955,
    the assignment problem) and drops pairs with less than half of the smaller side in common.
    """
    if old.size == 0:
        return {}
    olds, row = np.unique(old, return_inverse=True)
    news, column = np.unique(new, return_inverse=True)
    common = np.zeros((olds.size, news.size), dtype=np.int64)
    np.add.at(common, (row, column), 1)
    in_old, in_new = common.sum(axis=1), common.sum(axis=0)
    pairs: dict[int, tuple[int, float]] = {}
    for i, j in zip(*linear_sum_assignment(-common), strict=True):
        shared = int(common[i, j])
        if shared >= SAME * min(in_old[i], in_new[j]) and shared > 0:
            union = int(in_old[i] + in_new[j]) - shared
            pairs[int(news[j])] = (int(olds[i]), shared / union)
    return pairs


def _sample(vectors: Matrix, rng: np.random.Generator) -> Matrix:
    if vectors.shape[0] <= SAMPLE:
        return vectors
    return vectors[np.sort(rng.permutation(vectors.shape[0])[:SAMPLE])]


def _old_keys(
    before: npt.NDArray[np.int64], previous: PreviewResult | None
) -> npt.NDArray[np.int64]:
    """Per row the key of the cluster it was in, or -1."""
    keys = np.full(before.shape[0], -1, dtype=np.int64)
    if previous is not None:
        seen = before >= 0
        keys[seen] = previous.labels[before[seen]]
    return keys


def _matched(
    vectors: Matrix, centroids: Matrix, old: npt.NDArray[np.int64], previous: PreviewResult | None
) -> Grouping:
    """Assign all rows, dissolve tiny clusters, and give every cluster its old or a new key."""
    sizes = np.bincount(assign(vectors, centroids), minlength=centroids.shape[0])
    centroids = centroids[sizes >= min(TINY * vectors.shape[0] / sizes.size, sizes.max())]
    used, labels = np.unique(assign(vectors, centroids), return_inverse=True)
    seen = old >= 0
    pairs = pair_up(old[seen], labels[seen].astype(np.int64))
    fresh = 0 if previous is None else previous.next_key
    keys: list[int] = []
    for index in range(used.size):
        if index not in pairs:
            fresh += 1
        keys.append(pairs[index][0] if index in pairs else fresh - 1)
    steady = tuple(pairs[i][1] if i in pairs else 0.0 for i in range(used.size))
    return Grouping(labels.astype(np.int32), centroids[used], tuple(keys), steady)
