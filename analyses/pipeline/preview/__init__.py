"""The picture so far, drawn again and again while the run still reads.

Fast and provisional, but calm: clusters keep their keys and names for as long as most of their
conversations stay together, and dots keep their places until twice as many have been read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import numpy as np
import numpy.typing as npt

from analyses.pipeline.base import REST, Context, Labels, Matrix
from analyses.pipeline.embed import unit_rows
from analyses.pipeline.preview.grouping import (
    Grouping,
    earlier,
    group,
    pair_up,
    themes,
)
from analyses.pipeline.preview.layout import arrange, cloud, join
from analyses.pipeline.preview.naming import keeps_name, name_groups
from analyses.pipeline.preview.types import (
    PreviewCluster,
    PreviewInputs,
    PreviewResult,
    PreviewTheme,
    Rows,
)
from analyses.pipeline.vectors import LocalEmbedder

__all__ = ["PreviewCluster", "PreviewInputs", "PreviewResult", "PreviewTheme", "preview"]

REDRAW = 2
"""The islands are arranged anew when this many times as many conversations have been read."""


CHARACTERS = 4_000_000
"""Characters compared in all: about 1.5 s of counting words. Of many texts only the beginnings."""

SHORTEST = 200
"""The beginning of a text that is always read, however many there are."""


async def preview(inputs: PreviewInputs, context: Context) -> PreviewResult:
    """Cluster, name and place the conversations read so far.

    Deterministic: same inputs, same previous preview and same seed give the same picture. Texts
    that say nothing get the label -1 and a place in the middle of the picture.
    """
    context.check()
    vectors = inputs.vectors
    if vectors is None:
        vectors = await LocalEmbedder(seed=context.seed)(_beginnings(inputs.texts))
    context.check()
    result: PreviewResult = await context.compute(draw_preview, inputs, vectors, context.seed)
    return result


def _beginnings(texts: Sequence[str]) -> list[str]:
    limit = max(SHORTEST, CHARACTERS // max(len(texts), 1))
    return [text[:limit] for text in texts]


def draw_preview(inputs: PreviewInputs, vectors: Matrix, seed: int) -> PreviewResult:
    """The CPU-bound part of :func:`preview`; ``vectors`` has one row per text."""
    rows = _rows(inputs)
    units = unit_rows(vectors, inputs.texts)
    used = np.flatnonzero(np.abs(units).max(axis=1, initial=0) > 0)
    previous = inputs.previous
    before = earlier(rows, previous)
    if used.size == 0:
        return _blank(rows, previous)
    anew = previous is None or rows.size >= REDRAW * max(previous.laid_out, 1)
    found = group(units[used], before[used], previous, anew, np.random.default_rng(seed))
    labels = np.full(rows.size, REST, dtype=np.int32)
    labels[used] = found.labels
    sizes = np.bincount(found.labels, minlength=len(found.keys)).astype(np.int32)
    theme_keys = _themes(found, sizes, previous, anew)
    result = PreviewResult(
        rows=rows,
        labels=np.where(labels >= 0, np.asarray(found.keys, np.int32)[labels], REST),
        xy=_places(units, labels, found, theme_keys, before, previous, anew),
        centroids=found.centroids,
        laid_out=rows.size if anew or previous is None else previous.laid_out,
        next_key=max([*found.keys, (previous.next_key if previous else 0) - 1]) + 1,
    )
    clusters = _clusters(inputs, units, labels, found, theme_keys, seed)
    return replace(
        result,
        clusters=clusters,
        themes=_named_themes(inputs, units, labels, clusters, seed),
    )


def _rows(inputs: PreviewInputs) -> Rows:
    """The rows' identities; by default their order."""
    total = len(inputs.texts)
    if inputs.rows is None:
        return np.arange(total, dtype=np.int64)
    if len(inputs.rows) != total:
        raise ValueError(f"{total} texts, but {len(inputs.rows)} row identities")
    return np.asarray(inputs.rows, dtype=np.int64)


def _blank(rows: Rows, previous: PreviewResult | None) -> PreviewResult:
    """A picture of conversations that say nothing; keys given before stay taken."""
    return PreviewResult(
        rows=rows,
        labels=np.full(rows.size, REST, dtype=np.int32),
        xy=np.zeros((rows.size, 2), dtype=np.float32),
        next_key=previous.next_key if previous else 0,
    )


def _themes(found: Grouping, sizes: Labels, previous: PreviewResult | None, anew: bool) -> Labels:
    """Theme key per cluster.

    Between two arrangements a cluster stays in its theme and a new one joins the nearest; at an
    arrangement themes are formed afresh and matched to the old ones by the conversations in them.
    """
    known = {c.key: c.theme_key for c in previous.clusters} if previous else {}
    old = np.array([known.get(key, REST) for key in found.keys], dtype=np.int64)
    if not anew and (old >= 0).any():
        nearest = (found.centroids @ found.centroids[old >= 0].T).argmax(axis=1)
        return np.where(old >= 0, old, old[old >= 0][nearest]).astype(np.int32)
    fresh = themes(found.centroids)
    seen = np.repeat(old, sizes) >= 0
    pairs = pair_up(np.repeat(old, sizes)[seen], np.repeat(fresh, sizes).astype(np.int64)[seen])
    taken = {old_key for old_key, _ in pairs.values()}
    free = (key for key in count() if key not in taken)
    given = [pairs[t][0] if t in pairs else next(free) for t in range(int(fresh.max()) + 1)]
    return np.asarray(given, dtype=np.int32)[fresh]


def _places(
    units: Matrix,
    labels: Labels,
    found: Grouping,
    theme_keys: Labels,
    before: npt.NDArray[np.int64],
    previous: PreviewResult | None,
    anew: bool,
) -> Matrix:
    """Where the dots go: all of them when arranged anew, else only the ones that are new."""
    if previous is not None and not anew:
        return _joined(units, labels, before, previous)
    sizes = np.bincount(labels[labels >= 0], minlength=len(found.keys)).astype(np.int32)
    known = None if previous is None else _known(found, previous)
    centres, radii = arrange(found.centroids, sizes, theme_keys, known)
    xy = np.zeros((units.shape[0], 2), dtype=np.float32)
    for index, (centre, radius) in enumerate(zip(centres, radii, strict=True)):
        mine = labels == index
        xy[mine] = cloud(units[mine], found.centroids[index], centre, float(radius))
    return xy


def _known(found: Grouping, previous: PreviewResult) -> Matrix:
    """Centre of every cluster in the previous picture, NaN for those it did not have."""
    known = np.full((len(found.keys), 2), np.nan, dtype=np.float32)
    for index, key in enumerate(found.keys):
        mine = previous.labels == key
        if mine.any():
            known[index] = np.median(previous.xy[mine], axis=0)
    return known


def _joined(
    units: Matrix, labels: Labels, before: npt.NDArray[np.int64], previous: PreviewResult
) -> Matrix:
    """Old places for the old rows; new rows near the rows of their cluster they resemble."""
    xy = np.zeros((units.shape[0], 2), dtype=np.float32)
    old = before >= 0
    xy[old] = previous.xy[before[old]]
    for label in np.unique(labels[~old]):
        new = (labels == label) & ~old
        home = (labels == label) & old
        if label < 0:
            continue
        if not home.any():
            home = old & (labels >= 0)
        spacing = 0.5 * float(np.median(np.std(xy[home], axis=0))) if home.sum() > 3 else 0.02
        if home.any():
            xy[new] = join(units[home], xy[home], units[new], np.flatnonzero(new), spacing)
    return xy


def _clusters(
    inputs: PreviewInputs,
    units: Matrix,
    labels: Labels,
    found: Grouping,
    theme_keys: Labels,
    seed: int,
) -> tuple[PreviewCluster, ...]:
    """The clusters with names: kept where they still stand, made where they do not."""
    known = (
        {cluster.key: cluster for cluster in inputs.previous.clusters} if inputs.previous else {}
    )
    sizes = np.bincount(labels[labels >= 0], minlength=len(found.keys))
    old = [known.get(key) for key in found.keys]
    kept = [
        c is not None and keeps_name(int(size), c.named_at, steady)
        for c, size, steady in zip(old, sizes, found.steady, strict=True)
    ]
    standing = [c.name if c and keep else "" for c, keep in zip(old, kept, strict=True)]
    names = name_groups(inputs.texts, inputs.hints, units, labels, standing, seed)
    return tuple(
        PreviewCluster(
            key=found.keys[index],
            name=name,
            size=int(sizes[index]),
            theme_key=int(theme_keys[index]),
            kept=c.kept + 1 if c and c.name == name else 0,
            named_at=c.named_at if c and kept[index] else int(sizes[index]),
        )
        for index, (name, c) in enumerate(zip(names, old, strict=True))
    )


def _named_themes(
    inputs: PreviewInputs,
    units: Matrix,
    labels: Labels,
    clusters: Sequence[PreviewCluster],
    seed: int,
) -> tuple[PreviewTheme, ...]:
    """The themes, largest first; a theme of one cluster carries that cluster's name."""
    keys = sorted({cluster.theme_key for cluster in clusters})
    place = {key: index for index, key in enumerate(keys)}
    of_cluster = np.array([place[c.theme_key] for c in clusters], dtype=np.int32)
    rows = np.where(labels >= 0, of_cluster[labels], REST).astype(np.int32)
    sizes = np.bincount(rows[rows >= 0], minlength=len(keys))
    known = {theme.key: theme for theme in inputs.previous.themes} if inputs.previous else {}
    standing = [_theme_name(key, int(sizes[place[key]]), clusters, known) for key in keys]
    names = name_groups(inputs.texts, inputs.hints, units, rows, standing, seed)
    found = [
        PreviewTheme(
            key=key,
            name=names[index],
            size=int(sizes[index]),
            named_at=known[key].named_at
            if key in known and known[key].name == names[index]
            else int(sizes[index]),
        )
        for index, key in enumerate(keys)
    ]
    return tuple(sorted(found, key=lambda theme: (-theme.size, theme.key)))


def _theme_name(
    key: int, size: int, clusters: Sequence[PreviewCluster], known: dict[int, PreviewTheme]
) -> str:
    """The name a theme already has by right, or "" when one has to be found."""
    inside = [cluster.name for cluster in clusters if cluster.theme_key == key]
    if len(inside) == 1:
        return inside[0]
    old = known.get(key)
    return old.name if old and keeps_name(size, old.named_at, 1.0) else ""
