"""Base clusters: sizes, edge cases, order, warnings, determinism."""

import numpy as np
import pytest

from analyses.pipeline.base import REST, Context
from analyses.pipeline.cluster import ClusterParams, ClusterStage, assign_clusters, default_k


def blobs(counts, width=16, noise=0.05, seed=0):
    """Unit rows around orthogonal centres, ``counts[i]`` of centre i."""
    rng = np.random.default_rng(seed)
    centres = np.eye(width, dtype=np.float32)
    rows = [centres[i] + noise * rng.normal(size=(n, width)) for i, n in enumerate(counts)]
    matrix = np.concatenate(rows).astype(np.float32)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("rows", "k"),
    [(0, 0), (1, 1), (2, 1), (3, 2), (15, 4), (50, 7), (1500, 39), (10_000, 100), (50_000, 500)],
)
def test_default_k(rows, k):
    assert default_k(rows) == k


def test_default_k_never_jumps_where_the_rule_changes():
    assert default_k(10_001) - default_k(9_999) <= 1


@pytest.mark.parametrize("rows", [1, 2, 15, 50])
def test_few_rows_are_all_assigned(rows):
    result = assign_clusters(blobs([rows]), None, 7)
    assert (result.labels >= 0).all()
    assert len(result.centroids) == result.labels.max() + 1
    assert len(result.centroids) <= default_k(rows)


def test_separate_groups_are_found_largest_first():
    counts = [10, 40, 20]
    result = assign_clusters(blobs(counts), 3, 7)
    assert np.bincount(result.labels).tolist() == [40, 20, 10]
    assert np.allclose(np.linalg.norm(result.centroids, axis=1), 1, atol=1e-5)
    truth = np.repeat([2, 0, 1], counts)
    assert (result.labels == truth).all()


def test_identical_vectors_make_one_cluster():
    result = assign_clusters(np.tile(blobs([1]), (30, 1)), 5, 7)
    assert set(result.labels.tolist()) == {0}
    assert result.centroids.shape[0] == 1


def test_zero_rows_go_to_the_rest_bin_and_are_reported():
    vectors = blobs([20, 20])
    vectors[3] = 0
    result = assign_clusters(vectors, 2, 7)
    assert result.labels[3] == REST
    assert (np.delete(result.labels, 3) >= 0).all()
    assert result.warnings[0] == (
        "1 conversation has no text to compare and belongs to no cluster."
    )


def test_only_zero_rows():
    result = assign_clusters(np.zeros((4, 8), dtype=np.float32), None, 7)
    assert (result.labels == REST).all()
    assert result.centroids.shape == (0, 8)


def test_a_cluster_above_half_is_warned_of():
    crowded = assign_clusters(blobs([60, 20, 10]), 3, 7)
    assert any("67 %" in warning for warning in crowded.warnings)
    even = assign_clusters(blobs([30, 30, 30]), 3, 7)
    assert even.warnings == ()


def test_same_seed_same_result_and_more_clusters_than_rows():
    vectors = blobs([30, 30], noise=0.4)
    one, two = (assign_clusters(vectors, 9, 3) for _ in range(2))
    assert (one.labels == two.labels).all()
    assert np.array_equal(one.centroids, two.centroids)
    few = assign_clusters(blobs([3]), 10, 7)
    assert few.labels.max() <= 2


async def test_stage_yields_one_assignment():
    context = Context(chat=None, embed=None, seed=5)
    stage = ClusterStage(ClusterParams(k=2))
    results = [record async for record in stage.run(blobs([5, 5]), context)]
    assert len(results) == 1
    assert sorted(np.bincount(results[0].labels)) == [5, 5]
    assert ClusterParams.model_validate_json(stage.params.model_dump_json()) == stage.params
