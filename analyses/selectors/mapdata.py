"""The map of an analysis as arrays: where every conversation lies and which cluster colours it.

The wire format (``map.bin``) is little-endian: the magic ``OCM1``, then ``n``, flags (bit 0:
provisional) and version as uint32; then ``n`` pairs of uint16 coordinates, ``n`` uint16 indices
into the list of clusters (``NO_CLUSTER``: none, or withheld), ``n`` uint32 positions.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analyses import artifacts
from analyses.models import AnalysisSession, Artifact, ArtifactKind, Outcome
from analyses.selectors.tree import Tree

MAGIC = b"OCM1"
HEADER = struct.Struct("<4sIII")
NO_CLUSTER = 0xFFFF
PROVISIONAL = 1

UInt16 = npt.NDArray[np.uint16]
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Picture:
    """Places and groups of the conversations on the map, one row each.

    ``xy`` is uint16, shape ``(n, 2)``; ``keys`` holds the key of the shown base cluster or -1;
    ``positions`` are ascending item positions.
    """

    xy: UInt16
    keys: npt.NDArray[np.int64]
    positions: Positions
    provisional: bool


def map_version(session: AnalysisSession) -> int:
    """Changes whenever the picture does; 0 while there is none. One query."""
    kinds = (ArtifactKind.MAP, ArtifactKind.PREVIEW, ArtifactKind.LABELS)
    rows = Artifact.objects.filter(session=session, kind__in=kinds)
    newest = max((row.created_at for row in rows.only("created_at")), default=None)
    return int(newest.timestamp() * 1000) & 0xFFFFFFFF if newest else 0


def read_positions(session: AnalysisSession) -> Positions:
    """Positions of the conversations that were read, ascending: the rows of all final arrays."""
    rows = session.items.filter(outcome=Outcome.READ).order_by("position")
    return np.fromiter(rows.values_list("position", flat=True), dtype=np.int64)


def picture(session: AnalysisSession, tree: Tree) -> Picture | None:
    """The final map, else the provisional one, else ``None``. At most five queries."""
    if tree.provisional:
        return _preview(session, tree)
    kept = None if session.ended else _kept(session, tree)
    if kept is not None:
        return kept
    final = artifacts.load(session, ArtifactKind.MAP)
    labels = artifacts.load(session, ArtifactKind.LABELS)
    if labels is None:
        return None
    positions = read_positions(session)
    if len(positions) != len(labels):
        return None
    keys = _keys_of_leaves(labels, tree)
    if final is not None and len(final) == len(labels):
        return Picture(np.asarray(final), keys, positions, provisional=False)
    return _old_places(session, keys, positions)


def keep(session: AnalysisSession) -> None:
    """Keep the final picture while later stages run again: their files no longer fit its tree.

    Nothing is kept where the files are not on this machine.
    """
    xy = artifacts.load(session, ArtifactKind.MAP)
    labels = artifacts.load(session, ArtifactKind.LABELS)
    positions = read_positions(session)
    if xy is None or labels is None or not len(xy) == len(labels) == len(positions):
        return
    path = artifacts.write_bundle(
        session,
        f"{ArtifactKind.PREVIEW}-kept",
        len(positions),
        xy=np.asarray(xy),
        labels=np.asarray(labels),
        positions=positions.astype(np.uint32),
        final=np.ones(1, dtype=np.uint8),
    )
    artifacts.point(session, ArtifactKind.PREVIEW, path, len(positions))


def _kept(session: AnalysisSession, tree: Tree) -> Picture | None:
    """The picture of before, while the stages that make another are not through."""
    if session.stages.filter(key="privacy", finished_at__isnull=False).exists():
        return None
    bundle = artifacts.load_bundle(session, ArtifactKind.PREVIEW)
    if bundle is None or "final" not in bundle:
        return None
    keys = _keys_of_leaves(bundle["labels"], tree)
    return Picture(bundle["xy"], keys, bundle["positions"].astype(np.int64), provisional=False)


def _preview(session: AnalysisSession, tree: Tree) -> Picture | None:
    bundle = artifacts.load_bundle(session, ArtifactKind.PREVIEW)
    if bundle is None:
        return None
    labels = bundle["labels"].astype(np.int64)
    shown = np.fromiter(tree.by_key, dtype=np.int64, count=len(tree.by_key))
    keys = np.where(np.isin(labels, shown), labels, -1)
    order = np.argsort(bundle["positions"], kind="stable")
    places = bundle["positions"].astype(np.int64)[order]
    return Picture(bundle["xy"][order], keys[order], places, provisional=True)


def _old_places(
    session: AnalysisSession, keys: npt.NDArray[np.int64], positions: Positions
) -> Picture | None:
    """The final clusters on the provisional places, until the final map is drawn."""
    bundle = artifacts.load_bundle(session, ArtifactKind.PREVIEW)
    if bundle is None:
        return None
    places = bundle["positions"].astype(np.int64)
    order = np.argsort(places, kind="stable")
    known = np.isin(places[order], positions)
    order = order[known]
    rows = np.searchsorted(positions, places[order])
    return Picture(bundle["xy"][order], keys[rows], places[order], provisional=True)


def _keys_of_leaves(labels: npt.NDArray[np.int32], tree: Tree) -> npt.NDArray[np.int64]:
    """Base cluster indices as keys of shown clusters; -1 for the rest bin and withheld groups."""
    lookup = np.full(int(labels.max(initial=0)) + 2, -1, dtype=np.int64)
    for node in tree.walk():
        leaf = node.cluster.leaf
        if leaf is not None and leaf < len(lookup) - 1:
            lookup[leaf] = node.key
    return lookup[np.where(labels < 0, len(lookup) - 1, labels)]


def clusters_json(tree: Tree) -> list[dict[str, Any]]:
    """The clusters in the order that ``map.bin`` counts them."""
    themes = {root.key: index for index, root in enumerate(tree.roots)}
    return [
        {
            "key": node.key,
            "label": node.cluster.name,
            "level": node.cluster.level,
            "hue": node.cluster.hue,
            "theme": themes[node.theme.key],
            "parent": node.parent.key if node.parent else None,
            "x": node.cluster.x,
            "y": node.cluster.y,
            "size": node.cluster.size,
        }
        for node in tree.walk()
    ]


def encode(found: Picture | None, tree: Tree, version: int) -> bytes:
    """The picture in the wire format; an empty one when there is none yet."""
    if found is None:
        return HEADER.pack(MAGIC, 0, PROVISIONAL, version)
    index = {node.key: place for place, node in enumerate(tree.walk())}
    lookup = np.full(max(index, default=0) + 2, NO_CLUSTER, dtype="<u2")
    for key, place in index.items():
        lookup[key] = place
    flags = PROVISIONAL if found.provisional else 0
    return b"".join(
        (
            HEADER.pack(MAGIC, len(found.positions), flags, version),
            np.ascontiguousarray(found.xy, dtype="<u2").tobytes(),
            lookup[np.where(found.keys < 0, len(lookup) - 1, found.keys)].tobytes(),
            found.positions.astype("<u4").tobytes(),
        )
    )


def positions_in(found: Picture, keys: set[int]) -> Positions:
    """Positions of the conversations in the given base clusters, ascending."""
    wanted = np.fromiter(keys, dtype=np.int64, count=len(keys))
    return found.positions[np.isin(found.keys, wanted)]


def positions_inside(found: Picture, polygon: npt.NDArray[np.float64]) -> Positions:
    """Positions of the dots inside a polygon, shape ``(m, 2)``, in map units of [-1, 1].

    The even-odd rule, one edge at a time over all points (Shimrat, CACM algorithm 112, 1962).
    """
    xy = found.xy.astype(np.float64) / 65535 * 2 - 1
    x, y = xy[:, 0], xy[:, 1]
    inside = np.zeros(len(xy), dtype=bool)
    for (x1, y1), (x2, y2) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        crosses = (y1 > y) != (y2 > y)
        if y1 != y2:
            inside ^= crosses & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return found.positions[inside]
