from __future__ import annotations

import time

import numpy as np
import pytest

from analyses.pipeline.base import Context, Stopped
from analyses.pipeline.preview import PreviewInputs, PreviewResult, preview
from analyses.pipeline.preview.grouping import pair_up, wanted

SUBJECTS = (
    ("reset my password", "the login page refuses my password after the reset mail"),
    ("book a flight", "looking for a cheap flight to the coast next weekend"),
    ("return a broken lamp", "the lamp arrived broken and I want to send it back"),
    ("change my address", "my address changed because I moved to another street"),
    ("cancel the subscription", "please cancel my yearly subscription before it renews"),
    ("find a dentist", "is there a dentist near the station who takes new patients"),
    ("pay an invoice", "the invoice shows tax twice and the payment does not go through"),
    ("play some music", "play a calm song from the new album in the kitchen"),
)
FILLER = ("today", "again", "soon", "since monday", "at home", "for a friend", "quickly", "twice")


async def no_call(_):
    raise AssertionError("a preview asks no model")


CONTEXT = Context(chat=no_call, embed=no_call)


def conversations(size: int, seed: int = 0) -> tuple[list[str], list[str], np.ndarray]:
    """Texts, hints and the subject of each."""
    dice = np.random.default_rng(seed)
    which = dice.integers(0, len(SUBJECTS), size)
    extra = dice.integers(0, len(FILLER), (size, 2))
    hints = [f"I want to {SUBJECTS[s][0]}" for s in which]
    texts = [
        f"{SUBJECTS[s][0]} {SUBJECTS[s][1]} {FILLER[a]} {FILLER[b]}"
        for s, (a, b) in zip(which, extra, strict=True)
    ]
    return texts, hints, which


async def shown(size: int, previous: PreviewResult | None = None, **more) -> PreviewResult:
    texts, hints, _ = conversations(2000)
    return await preview(
        PreviewInputs(texts[:size], hints[:size], previous=previous, **more), CONTEXT
    )


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 15, 50])
async def test_every_size_has_a_picture(size):
    found = await shown(size)
    assert found.labels.shape == (size,)
    assert found.xy.shape == (size, 2)
    assert np.isfinite(found.xy).all()
    assert (np.abs(found.xy) <= 1).all()
    assert len(found.clusters) <= wanted(size)
    keys = {cluster.key for cluster in found.clusters}
    assert set(found.labels.tolist()) == keys
    assert sum(cluster.size for cluster in found.clusters) == size
    assert sum(theme.size for theme in found.themes) == size
    assert {c.theme_key for c in found.clusters} == {theme.key for theme in found.themes}
    assert all(group.name for group in (*found.clusters, *found.themes))


async def test_clusters_are_the_subjects():
    found = await shown(400)
    which = conversations(2000)[2][:400]
    pure = sum(np.bincount(which[found.labels == c.key]).max() for c in found.clusters)
    assert pure / 400 > 0.95
    names = " ".join(cluster.name.lower() for cluster in found.clusters)
    for word in ("password", "flight", "lamp", "dentist", "invoice"):
        assert word in names
    assert len({cluster.name for cluster in found.clusters}) == len(found.clusters)


async def test_islands_are_apart_and_round():
    found = await shown(600)
    middles, widths = [], []
    for cluster in found.clusters:
        dots = found.xy[found.labels == cluster.key]
        middles.append(dots.mean(axis=0))
        widths.append(np.linalg.norm(dots - middles[-1], axis=1).mean())
        if cluster.size > 25:
            across, along = np.sort(np.linalg.eigvalsh(np.cov(dots.T)))
            assert along < 6 * across
    away = np.linalg.norm(np.array(middles)[:, None] - np.array(middles)[None], axis=2)
    np.fill_diagonal(away, 9)
    mean = (np.array(widths)[:, None] + np.array(widths)[None]) / 2
    assert (away > mean).all()


async def test_dots_stay_until_twice_as_many_have_been_read():
    first = await shown(200)
    second = await shown(300, first)
    third = await shown(399, second)
    assert (second.xy[:200] == first.xy).all()
    assert (third.xy[:300] == second.xy).all()
    # Newcomers land among their own: nearer to their cluster's dots than to any other's.
    for key in np.unique(third.labels[300:]):
        new = third.xy[300:][third.labels[300:] == key]
        old = {c: third.xy[:300][third.labels[:300] == c] for c in np.unique(third.labels[:300])}
        if key in old:
            gaps = {
                c: np.linalg.norm(dots.mean(axis=0) - new.mean(axis=0)) for c, dots in old.items()
            }
            assert min(gaps, key=gaps.get) == key
    assert (await shown(400, third)).laid_out == 400


async def test_identity_survives():
    previous = await shown(100)
    for size in (150, 220, 330, 500, 700, 1000):
        found = await shown(size, previous)
        seen = previous.labels.shape[0]
        same = (found.labels[:seen] == previous.labels).mean()
        assert same > 0.8, size
        # Most names stay, and what stayed is counted.
        assert found.kept_names >= 0.5 * len(previous.clusters)
        before = {c.key: c for c in previous.clusters}
        for cluster in found.clusters:
            old = before.get(cluster.key)
            if old and cluster.name == old.name:
                assert cluster.kept == old.kept + 1
            else:
                assert cluster.kept == 0
        themes = {c.key: c.theme_key for c in found.clusters}
        stayed = [themes[c.key] == c.theme_key for c in previous.clusters if c.key in themes]
        assert np.mean(stayed) > 0.5
        assert max(theme.key for theme in found.themes) < 10
        previous = found


async def test_places_stay_about_the_same_at_a_redraw():
    first = await shown(200)
    second = await shown(400, first)
    assert second.laid_out == 400
    shifts = [
        np.linalg.norm(
            np.median(first.xy[first.labels == c.key], axis=0)
            - np.median(second.xy[second.labels == c.key], axis=0)
        )
        for c in second.clusters
        if (first.labels == c.key).any()
    ]
    assert np.median(shifts) < 0.5


async def test_rows_in_another_order_are_the_same_conversations():
    texts, hints, _ = conversations(300)
    first = await preview(PreviewInputs(texts[100:], hints[100:], rows=range(100, 300)), CONTEXT)
    both = await preview(PreviewInputs(texts, hints, previous=first, rows=range(300)), CONTEXT)
    assert (both.xy[100:] == first.xy).all()
    assert (both.labels[100:] == first.labels).mean() > 0.8


async def test_same_inputs_same_picture():
    first = await shown(120)
    one, two = await shown(180, first), await shown(180, first)
    assert one.clusters == two.clusters
    assert one.themes == two.themes
    assert (one.xy == two.xy).all()
    assert (one.labels == two.labels).all()


async def test_texts_without_words_are_in_no_cluster():
    texts, hints, _ = conversations(60)
    texts[5], texts[6] = "", " \n"
    found = await preview(PreviewInputs(texts, hints), CONTEXT)
    assert found.labels[5] == found.labels[6] == -1
    assert sum(cluster.size for cluster in found.clusters) == 58
    empty = await preview(PreviewInputs(["", ""], previous=found), CONTEXT)
    assert empty.clusters == ()
    assert empty.next_key == found.next_key


async def test_given_vectors_are_used_and_checked():
    dice = np.random.default_rng(0)
    vectors = np.repeat(np.eye(4, dtype=np.float32), 20, 0)
    vectors += 0.05 * dice.normal(size=(80, 4)).astype(np.float32)
    texts = [f"subject {i // 20}" for i in range(80)]
    found = await preview(PreviewInputs(texts, vectors=vectors), CONTEXT)
    for start in range(0, 80, 20):
        inside = set(found.labels[start : start + 20].tolist())
        assert not inside & set(found.labels[np.r_[0:start, start + 20 : 80]].tolist())
    with pytest.raises(ValueError, match="row identities"):
        await preview(PreviewInputs(texts, rows=[1, 2]), CONTEXT)


async def test_equal_texts():
    found = await preview(PreviewInputs(["the same words again"] * 40), CONTEXT)
    assert len(found.clusters) == 1
    assert np.isfinite(found.xy).all()


async def test_stops_promptly():
    stopping = Context(chat=no_call, embed=no_call, should_stop=lambda: True)
    with pytest.raises(Stopped):
        await preview(PreviewInputs(["a", "b"]), stopping)


def test_pairs_need_half_in_common():
    old = np.array([1] * 10 + [2] * 10)
    assert pair_up(old, old + 5) == {6: (1, 1.0), 7: (2, 1.0)}
    scattered = np.arange(20) % 5
    assert pair_up(old, scattered) != {}
    mixed = np.array([7] * 4 + [8] * 3 + [9] * 3 + [7] * 4 + [8] * 3 + [9] * 3)
    assert len(pair_up(old, mixed)) <= 2


async def test_fast_enough_to_be_live():
    await shown(50)
    start = time.process_time()
    await shown(2000)
    # One second of a quiet core; the margin is for slow machines.
    assert time.process_time() - start < 3
