"""One handler for each stage that works on the whole analysis, and for previews and preparing.

A handler loads inputs in the database thread, runs the stage, and saves under the batch's fence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from analyses import artifacts
from analyses.models import AnalysisSession, ArtifactKind
from analyses.pipeline.base import REST, EmbedPort, Labels
from analyses.pipeline.cluster import ClusterParams, ClusterStage
from analyses.pipeline.coordinates import to_u16
from analyses.pipeline.embed import EmbedParams, EmbedStage
from analyses.pipeline.hierarchy import HierarchyStage
from analyses.pipeline.local.engine import MODEL_LABEL
from analyses.pipeline.map import MapStage
from analyses.pipeline.name import FLAGGED, NameStage
from analyses.pipeline.prepare import PrepareStage
from analyses.pipeline.preview import PreviewInputs, preview
from analyses.pipeline.records import (
    ClusterText,
    HierarchyInputs,
    MapInputs,
    NameInputs,
    TreeNode,
)
from analyses.plan import VECTORS, RunParams
from analyses.runner import finals, previews, saving
from analyses.runner.job import Handler, Job
from analyses.runner.noting import Noted, noted, tell_flagged, warn
from analyses.runner.ports import RemoteEmbed
from analyses.runner.sources import read_rows, rows_by_node, sources
from core.figures import count_of
from providers.services import forget_vectors

REFUSED = " could not be embedded by the provider; the clusters are without."
"""How the warning about texts ends that a provider refuses."""


async def prepare(job: Job) -> None:
    """Redact, count and cut a range of conversations."""
    batch = job.batch
    rows = await job.db(sources, job.session, batch.first, batch.last)
    keys = {source.position: pk for pk, source in rows}
    ready = await job.records(PrepareStage(), [source for _, source in rows])
    pairs = [(keys[item.position], item) for item in ready]
    await job.save(
        lambda session: saving.prepared_items(session, batch, pairs), done=batch.last - batch.first
    )


async def embed(job: Job) -> None:
    """Vectors of every conversation read."""
    texts = (await job.db(read_rows, job.session)).texts
    params = EmbedParams(whole=job.ports.local_vectors)
    blocks = await job.records(EmbedStage(params), texts)
    parts = [block.matrix for block in sorted(blocks, key=lambda block: block.start)]
    if len(parts) == 1:
        vectors = parts[0]
    else:
        vectors = np.concatenate(parts) if parts else np.zeros((0, 1), dtype=np.float32)
    path = artifacts.write_array(job.session, ArtifactKind.VECTORS, job.batch.mark, vectors)
    refused = 0 if job.ports.local_vectors else _refused(texts, vectors)

    def write(session: AnalysisSession) -> None:
        artifacts.point(session, ArtifactKind.VECTORS, path, len(vectors))
        forget_vectors(session.pk)
        session.warnings = [one for one in session.warnings if not one.endswith(REFUSED)]
        session.warnings += [f"{count_of(refused, 'conversation')}{REFUSED}"] if refused else []
        _keep_model(session, job.ports.embed)
        session.save(update_fields=["warnings", "embedding", "params"])

    await job.save(write)


def _keep_model(session: AnalysisSession, port: EmbedPort) -> None:
    """From now on only the model that made the vectors is asked for more of them."""
    params = RunParams.model_validate(session.params)
    if isinstance(port, RemoteEmbed) and port.model and VECTORS in params.routes:
        kept = params.routes[VECTORS].model_copy(update={"targets": port.targets})
        routes = {**params.routes, VECTORS: kept}
        session.params = params.model_copy(update={"routes": routes}).model_dump(mode="json")
        session.embedding_id = port.targets[0][0]


def _refused(texts: Sequence[str], vectors: npt.NDArray[np.float32]) -> int:
    """How many texts the provider gave no vector for; blank ones are asked of nobody."""
    zero = np.flatnonzero(~vectors.any(axis=1))
    return sum(bool(texts[row].strip()) for row in zero.tolist())


async def cluster(job: Job) -> None:
    """Base clusters over the vectors."""
    vectors = await job.db(artifacts.load, job.session, ArtifactKind.VECTORS)
    stage = ClusterStage(ClusterParams(k=job.params.clusters))
    (found,) = await job.records(stage, np.asarray(vectors))
    mark = job.batch.mark
    labels = artifacts.write_array(job.session, ArtifactKind.LABELS, mark, found.labels)
    centres = artifacts.write_array(job.session, ArtifactKind.CENTROIDS, mark, found.centroids)

    def write(session: AnalysisSession) -> None:
        artifacts.point(session, ArtifactKind.LABELS, labels, len(found.labels))
        artifacts.point(session, ArtifactKind.CENTROIDS, centres, len(found.centroids))
        session.warnings = list(dict.fromkeys([*session.warnings, *found.warnings]))
        session.save(update_fields=["warnings"])

    await job.save(write)


async def name(job: Job) -> None:
    """A name and a description for every base cluster."""
    rows, labels, vectors, centroids = await job.db(_clustered, job.session)
    inputs = NameInputs(
        texts=rows.texts, hints=rows.titles, vectors=vectors, labels=labels, centroids=centroids
    )
    job, port = noted(job)
    records = await job.records(NameStage(), inputs)
    latest: dict[int, ClusterText] = {record.index: record for record in records}
    data = [
        {
            "name": text.name,
            "description": text.description,
            "model": text.model or MODEL_LABEL,
            "failed": text.failed,
        }
        for _, text in sorted(latest.items())
    ]
    path = artifacts.write_json(job.session, ArtifactKind.NAMES, job.batch.mark, data)

    def write(session: AnalysisSession) -> None:
        artifacts.point(session, ArtifactKind.NAMES, path, len(data))
        warn(session, job, port, "names")
        tell_flagged(session, sum(text.failed == FLAGGED for text in latest.values()))

    await job.save(write)


async def hierarchy(job: Job) -> None:
    """The tree over the base clusters."""
    _, labels, _, centroids = await job.db(_clustered, job.session)
    names = await job.db(artifacts.load_json, job.session, ArtifactKind.NAMES) or []
    inputs = HierarchyInputs(
        names=[item["name"] for item in names],
        descriptions=[item["description"] for item in names],
        centroids=centroids,
        sizes=[int(np.sum(labels == index)) for index in range(len(names))],
    )
    job, port = noted(job)
    nodes: list[TreeNode] = await job.records(HierarchyStage(), inputs)
    worded = [replace(node, model=_worded_by(node, names, port)) for node in nodes]
    data = [finals.node_to_json(node) for node in worded]
    path = artifacts.write_json(job.session, ArtifactKind.TREE, job.batch.mark, data)

    def write(session: AnalysisSession) -> None:
        artifacts.point(session, ArtifactKind.TREE, path, len(data))
        warn(session, job, port, "hierarchy")

    await job.save(write)


def _worded_by(node: TreeNode, names: Sequence[Mapping[str, str]], port: Noted) -> str:
    """The model a base cluster was named by; for themes, all that arranged the tree."""
    return port.words if node.leaf is None else names[node.leaf].get("model", "")


async def draw_map(job: Job) -> None:
    """Places of all conversations read."""
    vectors = np.asarray(await job.db(artifacts.load, job.session, ArtifactKind.VECTORS))
    themes = await job.db(_themes, job.session, len(vectors))
    inputs = MapInputs(vectors=vectors, labels=themes)
    (layout,) = await job.records(MapStage(), inputs)
    path = artifacts.write_array(job.session, ArtifactKind.MAP, job.batch.mark, to_u16(layout.xy))

    def write(session: AnalysisSession) -> None:
        artifacts.point(session, ArtifactKind.MAP, path, len(layout.xy))
        saving.place_clusters(session)

    await job.save(write)


async def provisional(job: Job) -> None:
    """The picture of what was read so far."""
    rows = await job.db(read_rows, job.session)
    previous = await job.db(previews.load_previous, job.session)
    inputs = PreviewInputs(
        texts=rows.texts,
        hints=rows.titles,
        previous=previous,
        rows=[int(position) for position in rows.positions],
    )
    result = await preview(inputs, job.context)
    path = await job.db(previews.store, job.session, job.batch, result)
    await job.save(lambda session: previews.save(session, result, path), done=0)


def _themes(session: AnalysisSession, size: int) -> Labels:
    """The theme of every row, -1 for rows of none."""
    nodes = finals.nodes_of(session)
    groups = rows_by_node(nodes, finals.labels_of(session))
    themes = np.full(size, REST, dtype=np.int32)
    for node in nodes:
        if node.parent is None:
            themes[groups[node.key]] = node.key
    return themes


def _clustered(session: AnalysisSession) -> tuple[Any, Any, Any, Any]:
    return (
        read_rows(session),
        np.asarray(artifacts.load(session, ArtifactKind.LABELS)),
        np.asarray(artifacts.load(session, ArtifactKind.VECTORS)),
        np.asarray(artifacts.load(session, ArtifactKind.CENTROIDS)),
    )


HANDLERS: dict[str, Handler] = {
    "prepare": prepare,
    "embed": embed,
    "cluster": cluster,
    "name": name,
    "hierarchy": hierarchy,
    "privacy": finals.privacy,
    "map": draw_map,
    "insights": finals.insights,
    "report": finals.report,
    "preview": provisional,
}
