from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
from scipy.spatial import cKDTree
from sklearn.manifold import trustworthiness

from analyses.pipeline.base import Context, Stopped
from analyses.pipeline.coordinates import from_u16, to_u16
from analyses.pipeline.map import MapParams, MapStage, _pacmap, draw, pulled
from analyses.pipeline.neighbours import nearest
from analyses.pipeline.records import MapInputs
from analyses.pipeline.spread import fan_out, scale, spread


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


def test_same_seed_same_map_and_one_label_guides_nothing():
    vectors, labels = blobs(400)
    one, two = draw(vectors, MapParams(), 3, labels), draw(vectors, MapParams(), 3, labels)
    assert (one.xy == two.xy).all()
    assert not (one.xy == draw(vectors, MapParams(), 4, labels).xy).all()
    plain = draw(vectors, MapParams(), 3).xy
    for alike in (np.zeros(400, np.int32), np.full(400, -1, np.int32)):
        assert (draw(vectors, MapParams(), 3, alike).xy == plain).all()


def themed(size: int):
    """Tight clusters with nothing in common, five of each of six themes: what smoothing leaves."""
    vectors, cluster = blobs(size, width=100, groups=30, seed=1)
    return vectors, cluster, (cluster % 6).astype(np.int32)


def near(xy, labels, count=15):
    """Share of the nearest dots with the same label."""
    _, found = cKDTree(xy).query(xy, k=count + 1)
    return (labels[found[:, 1:]] == labels[:, None]).mean()


def test_a_theme_is_a_region():
    vectors, cluster, themes = themed(1200)
    middles = {}
    for key, labels in {"plain": None, "themed": themes}.items():
        xy = draw(vectors, MapParams(), 7, labels).xy
        assert near(xy, cluster) > 0.9
        middles[key] = np.stack([xy[cluster == index].mean(axis=0) for index in range(30)])
    kin = {key: near(places, np.arange(30) % 6, 2) for key, places in middles.items()}
    # The clusters have nothing in common, so by chance four of the other 29 are kin.
    assert kin["themed"] > 0.35
    assert kin["plain"] < 0.25


def test_rows_without_theme_stay_and_narrow_cones_are_pulled_alike():
    vectors, _, themes = themed(300)
    rows = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    themes[:50] = -1
    moved = pulled(rows, themes)
    assert np.allclose(moved[:50], rows[:50], atol=1e-6)
    assert np.allclose(np.linalg.norm(moved, axis=1), 1, atol=1e-5)

    cone = rows + 3 * np.eye(rows.shape[1], dtype=np.float32)[0]
    cone /= np.linalg.norm(cone, axis=1, keepdims=True)
    for points in (rows, cone):
        assert contrast(pulled(points, themes), themes) > 1.2 * contrast(points, themes)


def contrast(points, themes):
    """How much further rows of other themes are than rows of the same."""
    points, themes = points[themes >= 0], themes[themes >= 0]
    apart = 1 - points @ points.T
    kin = themes[:, None] == themes[None, :]
    return apart[~kin].mean() / apart[kin].mean()


def clumps(sizes, width=0.004, seed=0):
    """What PaCMAP makes of smoothed vectors: points with nothing between them."""
    dice = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    centres = np.array([[-0.8, -0.7], [0.9, -0.6], [0.0, 0.0], [-0.5, 0.9], [0.7, 0.8]])
    xy = centres[labels] + width * dice.normal(size=(labels.size, 2))
    return xy.astype(np.float32), labels


def cells(xy, across=40):
    """Share of the plane's cells that hold a dot."""
    return len(np.unique(np.floor(xy * across / 2), axis=0)) / across**2


def test_spread_turns_points_into_clouds():
    xy, labels = clumps([400, 400, 200, 100, 100])
    wide = spread(xy, 7)
    assert cells(xy) < 0.02
    assert 0.15 < cells(wide) < 0.6
    assert near(wide, labels) > 0.99
    assert (np.ptp(wide, axis=0) > 1.85).all()
    # Single dots can be told apart: 2 px across a map of 400 px.
    gaps = cKDTree(wide).query(wide, k=2)[0][:, 1]
    assert np.median(gaps) > 0.01
    areas = [np.prod(wide[labels == index].std(axis=0)) for index in range(5)]
    # Four times as many dots: more room, if not four times as much, as the flow stops early.
    assert 1.7 < np.mean(areas[:2]) / np.mean(areas[3:]) < 8


def test_spread_keeps_neighbours_and_survives_strays():
    vectors, labels = blobs(1500, width=20)
    raw = scale(_pacmap(vectors, 15, 7))
    before = trustworthiness(vectors, raw, n_neighbors=15)
    wide = spread(raw, 7)
    assert trustworthiness(vectors, wide, n_neighbors=15) > 0.97 * before
    assert near(wide, labels) > 0.98
    assert (wide == spread(raw, 7)).all()
    stray = np.vstack([raw * 0.05, [[1, 1], [-1, 1]]]).astype(np.float32)
    assert (spread(scale(stray), 7)[:-2].std(axis=0) > 0.3).all()


@pytest.mark.parametrize("size", [1, 2, 15])
def test_spread_of_few(size):
    for xy in (np.zeros((size, 2), np.float32), clumps([size])[0]):
        wide = spread(xy, 7)
        assert wide.shape == (size, 2)
        assert np.isfinite(wide).all()
        assert (np.abs(wide) <= 1).all()


@pytest.mark.parametrize(("kinds", "copies"), [(4, 3), (5, 40), (25, 20)])
def test_no_dot_hides_another(kinds, copies):
    vectors, _ = blobs(kinds)
    xy = draw(np.tile(vectors, (copies, 1)), MapParams(), 7).xy
    assert len(np.unique(to_u16(xy), axis=0)) == kinds * copies
    kind = np.tile(np.arange(kinds), copies)
    assert near(xy, kind, 2) > 0.9


def test_fan_out_moves_copies_only():
    xy = np.array([[0, 0], [0.5, 0.5], [0, 0], [0, 0]], dtype=np.float32)
    moved = fan_out(xy)
    assert (moved[:2] == xy[:2]).all()
    gaps = np.linalg.norm(moved[:, None] - moved[None], axis=2)[np.triu_indices(4, 1)]
    assert gaps.min() > 0.1


def test_large_maps_get_their_room_quickly():
    xy, labels = clumps([2500, 2500, 2000, 1500, 1500])
    start = time.process_time()
    wide = spread(xy, 7)
    assert time.process_time() - start < 0.5
    assert near(wide, labels) > 0.99


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
