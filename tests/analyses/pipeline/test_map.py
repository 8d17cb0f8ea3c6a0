from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from analyses.pipeline.base import Context, Stopped
from analyses.pipeline.map import MapParams, MapStage, draw, from_u16, scale, to_u16
from analyses.pipeline.neighbours import nearest
from analyses.pipeline.records import MapInputs


def blobs(size: int, width: int = 50, groups: int = 12, seed: int = 0):
    """Unit-scale blobs with known labels."""
    dice = np.random.default_rng(seed)
    centres = dice.normal(size=(groups, width))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    labels = dice.integers(0, groups, size)
    rows = centres[labels] + 0.1 * dice.normal(size=(size, width))
    return rows.astype(np.float32), labels.astype(np.int32)


async def no_call(_):
    raise AssertionError("the map asks nobody")


def context(**more) -> Context:
    return Context(chat=no_call, embed=no_call, **more)


@pytest.mark.parametrize("size", [*range(16), 20, 40, 50])
def test_every_size_has_a_finite_map(size):
    vectors, _ = blobs(max(size, 1))
    layout = draw(vectors[:size], MapParams(), 7)
    assert layout.xy.shape == (size, 2)
    assert layout.xy.dtype == np.float32
    assert np.isfinite(layout.xy).all()
    assert (np.abs(layout.xy) <= 1).all()
    assert layout.method


@pytest.mark.parametrize("size", [3, 14, 15, 300])
def test_equal_rows_and_zero_rows_do_not_break_it(size):
    same = np.ones((size, 8), dtype=np.float32)
    assert draw(same, MapParams(), 7).method == "circle"
    for vectors in (same * 0, np.full_like(same, np.nan), np.repeat(np.eye(8), 40, 0)[:size]):
        assert np.isfinite(draw(vectors.astype(np.float32), MapParams(), 7).xy).all()


def test_many_copies_of_few_rows():
    vectors, _ = blobs(25)
    layout = draw(np.tile(vectors, (60, 1)), MapParams(), 7)
    assert layout.method == "pacmap"
    assert np.isfinite(layout.xy).all()


def test_neighbours_are_preserved():
    vectors, labels = blobs(1500)
    layout = draw(vectors, MapParams(), 7)
    assert trustworthiness(vectors, layout.xy, n_neighbors=10) > 0.95
    found, _ = nearest(_unit3(layout.xy), _unit3(layout.xy), 6)
    assert (labels[found[:, 1:]] == labels[:, None]).mean() > 0.97


def _unit3(xy):
    """Points of the plane on a sphere, where the nearest by angle is the nearest by distance."""
    square = (xy**2).sum(axis=1, keepdims=True)
    return (np.hstack([2 * xy, square - 1]) / (1 + square)).astype(np.float32)


def test_rows_beyond_the_landmarks_join_their_own_kind():
    vectors, labels = blobs(1500)
    layout = draw(vectors, MapParams(landmarks=500), 7)
    assert layout.method == "pacmap, 500 landmarks"
    assert trustworthiness(vectors, layout.xy, n_neighbors=10) > 0.9
    middles = np.stack([np.median(layout.xy[labels == group], axis=0) for group in range(12)])
    away = np.linalg.norm(layout.xy[:, None] - middles[None], axis=2)
    assert (away.argmin(axis=1) == labels).mean() > 0.97


def test_same_seed_same_map_and_labels_guide_nothing():
    vectors, _ = blobs(400)
    one, two = draw(vectors, MapParams(), 3), draw(vectors, MapParams(), 3)
    assert (one.xy == two.xy).all()
    assert not (one.xy == draw(vectors, MapParams(), 4).xy).all()


def test_scale_survives_strays():
    dice = np.random.default_rng(0)
    points = dice.normal(size=(1000, 2)) * [1, 50]
    points[0], points[1] = [1e6, -1e6], [np.nan, 0]
    scaled = scale(points.astype(np.float32))
    assert (np.abs(scaled) <= 1).all()
    # One stray a million away must leave the rest its room on both axes.
    assert (scaled[2:].std(axis=0) > 0.25).all()
    assert (scaled[:2, 0] == [1.0, pytest.approx(0, abs=0.2)]).all()
    order = np.argsort(points[2:, 1])
    assert (np.diff(scaled[2:, 1][order]) >= 0).all()


def test_u16_round_trip():
    xy = np.array([[-1, 1], [0, 0.5], [2, -3]], dtype=np.float32)
    steps = to_u16(xy)
    assert steps.dtype == np.uint16
    assert steps[0].tolist() == [0, 65535]
    assert np.abs(from_u16(steps) - np.clip(xy, -1, 1)).max() <= 1 / 65535


def test_nearest_exact_and_approximate_agree():
    vectors, _ = blobs(20_000, width=16)
    items = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    approximate, scores = nearest(items[:15_000], items[-14_000:], 5)
    exact, _ = nearest(items[:15_000], items[-500:], 5)
    assert (approximate[-500:, 0] == exact[:, 0]).mean() > 0.95
    assert (np.diff(scores, axis=1) <= 1e-6).all()
    assert nearest(items[:3], items[:2], 9)[0].shape == (2, 3)
    assert nearest(items[:0], items[:2], 9)[0].shape == (2, 0)


async def test_stage_reports_and_stops():
    vectors, labels = blobs(100)
    seen: list[tuple[int, int]] = []
    stage = MapStage(MapParams.model_validate_json(MapParams().model_dump_json()))
    inputs = MapInputs(vectors=vectors, labels=labels)
    run = stage.run(inputs, context(report=lambda a, b: seen.append((a, b))))
    layouts = [layout async for layout in run]
    assert len(layouts) == 1
    assert layouts[0].xy.shape == (100, 2)
    assert seen[-1] == (100, 100)
    with pytest.raises(Stopped):
        _ = [one async for one in stage.run(inputs, context(should_stop=lambda: True))]


@pytest.mark.skipif(sys.platform == "win32", reason="numba's cache is tested on POSIX only")
def test_importing_the_stage_does_not_compile():
    """Web processes and commands import the stage; only drawing may load the compiler."""
    code = "import sys, analyses.pipeline.map; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
