"""Base clusters: spherical k-means on unit vectors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

import faiss
import numpy as np
from pydantic import Field
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist
from sklearn.cluster import kmeans_plusplus
from sklearn.preprocessing import normalize

from analyses.pipeline.base import REST, Context, Labels, Matrix, StageParams
from analyses.pipeline.records import Assignment
from analyses.pipeline.shape import default_k

SMALL = 5_000
"""Up to this many rows restarts are cheap, and identical rows are counted before k is chosen."""

LINKED = 3_000
"""Rows whose average-linkage tree seeds the centroids; its cost grows with the square."""

LINKED_PER_CLUSTER = 10
"""Rows per cluster the tree needs to find them; with fewer, random starts have to do."""

LEAST_SHARE = 1 / 16
"""A branch smaller than this part of an even share is taken for outliers, not for a cluster."""

LARGEST_SHARE = 3
"""Multiple of an even share up to which the largest linked cluster is no sign of a blob."""

RESTARTS = 10

LARGE = 20_000
"""From here centroids are fitted on a sample of :data:`SAMPLE_PER_CLUSTER` rows each."""

SAMPLE_PER_CLUSTER = 40

CROWDED = 0.5
"""Share of all conversations above which one cluster is worth a warning."""

CROWDED_FROM = 10
"""Fewer conversations than this make no statement about shares."""


class ClusterParams(StageParams):
    """``k`` is the number of clusters asked for; ``None`` chooses it from the data's size."""

    k: int | None = Field(default=None, ge=1)


class ClusterStage:
    """Gives every vector one cluster, or the rest bin when there is no text behind it."""

    key: ClassVar[str] = "cluster"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("embed",)
    Params: ClassVar[type[StageParams]] = ClusterParams

    def __init__(self, params: ClusterParams | None = None) -> None:
        self.params = params or ClusterParams()

    async def run(self, inputs: Matrix, context: Context) -> AsyncIterator[Assignment]:
        """Yield one :class:`Assignment` for vectors of shape ``(n, d)``."""
        context.check()
        total = int(inputs.shape[0])
        yield await context.compute(assign_clusters, inputs, self.params.k, context.seed)
        context.report(total, total)


def assign_clusters(vectors: Matrix, k: int | None, seed: int) -> Assignment:
    """Cluster ``vectors`` (``(n, d)``, unit or zero rows); largest cluster first.

    Zero rows carry no text and get the label :data:`REST`. Empty clusters are dropped, so the
    result may have fewer than ``k``. Same inputs, same result: one thread, fixed seed.
    """
    labels = np.full(vectors.shape[0], REST, dtype=np.int32)
    width = vectors.shape[1] if vectors.ndim == 2 else 0
    used = np.flatnonzero(np.einsum("ij,ij->i", vectors, vectors) > 0) if width else labels[:0]
    if not len(used):
        return Assignment(labels, np.zeros((0, width), dtype=np.float32), _warnings(labels))
    data = np.ascontiguousarray(vectors[used], dtype=np.float32)
    wanted = min(k or default_k(len(used)), _distinct(data))
    found = _kmeans(data, wanted, seed) if wanted > 1 else np.zeros(len(data), dtype=np.int32)
    labels[used], order = _largest_first(found)
    return Assignment(labels, centroids_of(data, labels[used], order), _warnings(labels))


def centroids_of(data: Matrix, labels: Labels, count: int) -> Matrix:
    """Unit mean of each label's rows, shape ``(count, d)``; labels run from 0 to count - 1."""
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(count))
    sums = np.add.reduceat(data[order], starts, axis=0)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / np.maximum(norms, 1e-12), dtype=np.float32)


def _distinct(data: Matrix) -> int:
    """Number of different rows, counted up to rounding; large data is taken as all different."""
    if len(data) > SMALL:
        return len(data)
    return len({row.tobytes() for row in np.round(data, 5) + np.float32(0.0)})


def _kmeans(data: Matrix, k: int, seed: int) -> Labels:
    """Labels ``(n,)`` of spherical k-means (faiss) from the better of two kinds of start.

    Random starts tend to split large groups and merge small ones. Centroids of an average-linkage
    tree do not, but may leave half of the data in one branch; such a result is not taken, and
    k-means++ starts (Arthur and Vassilvitskii 2007) are.
    """
    faiss.omp_set_num_threads(1)
    linked = _linked_centroids(data, k, seed)
    if linked is not None:
        labels, _ = _refined(data, linked, seed)
        if np.bincount(labels).max() <= LARGEST_SHARE * len(data) / k:
            return labels
    starts = RESTARTS if len(data) <= SMALL else 1
    runs = [_refined(data, _spread_centroids(data, k, seed + i), seed) for i in range(starts)]
    return max(runs, key=lambda run: run[1])[0]


def _refined(data: Matrix, start: Matrix, seed: int) -> tuple[Labels, float]:
    """Labels after k-means from ``start``, and the sum of cosines to the own centroid."""
    large = len(data) > LARGE
    model = faiss.Kmeans(
        data.shape[1],
        len(start),
        niter=10 if large else 30,
        seed=seed,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=SAMPLE_PER_CLUSTER if large else LARGE,
    )
    model.train(data, init_centroids=start)
    cosines, labels = model.index.search(data, 1)
    return np.asarray(labels[:, 0], dtype=np.int32), float(cosines.sum())


def _spread_centroids(data: Matrix, k: int, seed: int) -> Matrix:
    """``k`` rows far from each other (k-means++); of large data, any ``k`` rows."""
    rng = np.random.default_rng(seed)
    if len(data) > LARGE:
        return np.ascontiguousarray(data[rng.choice(len(data), k, replace=False)])
    chosen, _ = kmeans_plusplus(data, k, random_state=int(rng.integers(2**31)))
    return np.ascontiguousarray(chosen, dtype=np.float32)


def _linked_centroids(data: Matrix, k: int, seed: int) -> Matrix | None:
    """Unit means of the ``k`` largest branches of an average-linkage tree, shape ``(k, d)``.

    The tree is cut lower and lower until ``k`` branches are large enough. ``None`` when there are
    too few rows per cluster, or too many of them alike, for the tree to say anything.
    """
    rows = data
    if len(data) > LINKED:
        rows = data[np.random.default_rng(seed).choice(len(data), LINKED, replace=False)]
    if len(rows) < LINKED_PER_CLUSTER * k:
        return None
    tree = linkage(np.maximum(pdist(rows, "cosine"), 0), "average")
    least = max(2, LEAST_SHARE * len(rows) / k)
    for cut in range(k, min(4 * k, len(rows)) + 1):
        labels = fcluster(tree, cut, "maxclust") - 1
        sizes = np.bincount(labels)
        if int((sizes >= least).sum()) >= k:
            chosen = np.argsort(-sizes, kind="stable")[:k]
            means = [rows[labels == label].sum(axis=0) for label in chosen]
            return np.ascontiguousarray(normalize(np.stack(means)), dtype=np.float32)
    return None


def _largest_first(found: Labels) -> tuple[Labels, int]:
    """Labels renumbered by falling size without gaps, and how many there are."""
    sizes = np.bincount(found)
    kept = np.flatnonzero(sizes)
    ranked = kept[np.lexsort((kept, -sizes[kept]))]
    renumber = np.zeros(len(sizes), dtype=np.int32)
    renumber[ranked] = np.arange(len(ranked), dtype=np.int32)
    return renumber[found], len(ranked)


def _warnings(labels: Labels) -> tuple[str, ...]:
    """Worded warnings about a lopsided result."""
    total = len(labels)
    rest = int((labels == REST).sum())
    said: list[str] = []
    if rest:
        one = rest == 1
        who = "conversation has" if one else "conversations have"
        belong = "belongs" if one else "belong"
        said.append(f"{rest} {who} no text to compare and {belong} to no cluster.")
    sizes = np.bincount(labels[labels != REST])
    if total >= CROWDED_FROM and len(sizes) and sizes.max() > CROWDED * total:
        share = round(100 * int(sizes.max()) / total)
        said.append(
            f"One cluster holds {share} % of all conversations. "
            "The data may be very uniform, or the chosen facet too general to tell them apart."
        )
    return tuple(said)
