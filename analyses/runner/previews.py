"""The provisional picture: drawn while reading goes on, kept between workers as an artifact."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from django.utils import timezone

from analyses import artifacts
from analyses.events import MapChanged, PictureChanged
from analyses.models import AnalysisSession, ArtifactKind, Batch, Cluster
from analyses.pipeline.coordinates import to_u16
from analyses.pipeline.preview.types import PreviewCluster, PreviewResult, PreviewTheme
from core.events import publish

THEME_KEYS = 1_000_000
"""Keys of provisional themes start here, so that they never meet those of clusters."""

HUES = 10


def load_previous(session: AnalysisSession) -> PreviewResult | None:
    """The last picture, ``None`` before the first."""
    bundle = artifacts.load_bundle(session, ArtifactKind.PREVIEW)
    if bundle is None:
        return None
    meta = json.loads(bundle["meta"].tobytes().decode())
    return PreviewResult(
        rows=bundle["positions"].astype(np.int64),
        labels=bundle["labels"],
        xy=bundle["places"],
        centroids=bundle["centroids"],
        clusters=tuple(PreviewCluster(**item) for item in meta["clusters"]),
        themes=tuple(PreviewTheme(**item) for item in meta["themes"]),
        laid_out=meta["laid_out"],
        next_key=meta["next_key"],
    )


def store(session: AnalysisSession, batch: Batch, result: PreviewResult) -> str:
    """Write the picture to a file; returns its path."""
    meta = {
        "clusters": [asdict(item) for item in result.clusters],
        "themes": [asdict(item) for item in result.themes],
        "laid_out": result.laid_out,
        "next_key": result.next_key,
    }
    return artifacts.write_bundle(
        session,
        f"{ArtifactKind.PREVIEW}-{batch.seq}",
        batch.fence,
        xy=to_u16(result.xy),
        places=np.asarray(result.xy, dtype=np.float32),
        labels=np.asarray(result.labels, dtype=np.int32),
        positions=np.asarray(result.rows, dtype=np.uint32),
        centroids=result.centroids,
        meta=np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8),
    )


def save(session: AnalysisSession, result: PreviewResult, path: str) -> None:
    """Replace the provisional clusters, unless the real ones are already being made."""
    if session.stages.filter(key="cluster", finished_at__isnull=False).exists():
        return
    sizes = dict(session.clusters.filter(provisional=True).values_list("key", "size"))
    session.clusters.filter(provisional=True).delete()
    read = len(result.rows)
    drawing = _Drawing(session, sizes, floor=provisional_floor(read), places=_places(result))
    for theme in sorted(result.themes, key=lambda item: (-item.size, item.key)):
        parent = drawing.theme(theme)
        inside = [item for item in result.clusters if item.theme_key == theme.key]
        for cluster in sorted(inside, key=lambda item: (-item.size, item.key)):
            drawing.cluster(cluster, parent)
    artifacts.point(session, ArtifactKind.PREVIEW, path, read)
    session.previewed = read
    session.first_preview_at = session.first_preview_at or timezone.now()
    session.save(update_fields=["previewed", "first_preview_at"])
    publish(
        session.topic,
        PictureChanged(conversations=read, clusters=len(result.clusters), provisional=True),
        MapChanged(points=read, provisional=True),
    )


def provisional_floor(read: int) -> int:
    """The smallest provisional cluster shown: grows with what was read, from 3 to 10."""
    return max(3, min(10, read // 60))


def _places(result: PreviewResult) -> dict[int, tuple[float, float]]:
    """The middle of every cluster's and theme's dots."""
    places: dict[int, tuple[float, float]] = {}
    theme_of = {cluster.key: cluster.theme_key for cluster in result.clusters}
    themes = np.array([theme_of.get(int(key), -1) for key in result.labels])
    for key in theme_of:
        places[key] = _middle(result.xy[result.labels == key])
    for theme in result.themes:
        places[THEME_KEYS + theme.key] = _middle(result.xy[themes == theme.key])
    return places


def _middle(dots: Any) -> tuple[float, float]:
    if not len(dots):
        return 0.0, 0.0
    x, y = np.median(dots, axis=0)
    return float(x), float(y)


@dataclass(slots=True)
class _Drawing:
    session: AnalysisSession
    sizes: Mapping[int, int]
    floor: int
    places: Mapping[int, tuple[float, float]]
    order: int = 0

    def theme(self, theme: PreviewTheme) -> Cluster:
        key = THEME_KEYS + theme.key
        return self._add(key, theme.name, theme.size, hue=theme.key % HUES + 1)

    def cluster(self, cluster: PreviewCluster, parent: Cluster) -> Cluster:
        return self._add(
            cluster.key,
            cluster.name,
            cluster.size,
            hue=parent.hue,
            parent=parent,
            kept=cluster.kept,
        )

    def _add(
        self,
        key: int,
        name: str,
        size: int,
        *,
        hue: int,
        parent: Cluster | None = None,
        kept: int = 0,
    ) -> Cluster:
        shown = size >= self.floor
        self.order += 1
        x, y = self.places[key]
        return Cluster.objects.create(
            session=self.session,
            parent=parent,
            key=key,
            level=2 if parent else 1,
            leaf=key if parent else None,
            name=name[:160],
            size=size,
            hue=hue,
            order=self.order,
            x=x,
            y=y,
            provisional=True,
            kept=kept,
            gain=size - self.sizes.get(key, size),
            shown=shown,
            withheld_for="" if shown else "conversations",
        )
