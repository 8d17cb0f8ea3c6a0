"""Writing what stages found. Each function is a ``write`` for :func:`analyses.services.saved`."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analyses import artifacts
from analyses.events import InsightsFound, MapChanged, PictureChanged
from analyses.models import (
    AnalysisItem,
    AnalysisSession,
    ArtifactKind,
    Batch,
    Cluster,
    ClusterMembership,
    FacetValue,
    Insight,
    Outcome,
)
from analyses.pipeline.coordinates import from_u16
from analyses.pipeline.records import (
    FacetAnswer,
    FacetsRead,
    InsightFound,
    ItemFailed,
    Prepared,
    PrivacyVerdict,
    TreeNode,
)
from analyses.runner.sources import ReadRows
from analyses.selectors.asked import places_of
from analyses.services.progress import leave_out
from core.bulk import insert_rows
from core.events import publish
from core.text import clean
from projects.models import Conversation

CHUNK = 1000
HUES = 10
TITLE_CHARS = 300
SUMMARY_CHARS = 600
LEFT_OUT: Mapping[str, Any] = {"outcome": Outcome.FAILED, "error_class": "deleted", "error": ""}
"""What a conversation comes to that was deleted before it was read."""


def prepared_items(
    session: AnalysisSession, batch: Batch, rows: Sequence[tuple[int, Prepared]]
) -> None:
    """The items of a prepared range, and the batch that will read it.

    What was deleted since the start was not prepared: it is left out, so that the counts add up.
    """
    gone = _deleted(session, batch, {item.position for _, item in rows})
    AnalysisItem.objects.bulk_create(
        (
            AnalysisItem(
                session=session,
                conversation_id=conversation,
                position=item.position,
                spans=[[span.turn, span.start, span.end, span.kind] for span in item.spans],
                kept_from=item.kept[0],
                kept_to=item.kept[1],
                tokens=item.tokens,
                language=item.language[:12],
            )
            for conversation, item in rows
        ),
        batch_size=CHUNK,
    )
    AnalysisItem.objects.bulk_create(gone, batch_size=CHUNK)
    leave_out(session, len(gone))
    Batch.objects.create(
        session=session, stage="facets", seq=batch.seq, first=batch.first, last=batch.last
    )


def _deleted(session: AnalysisSession, batch: Batch, made: Container[int]) -> list[AnalysisItem]:
    """The outcome of conversations of a range that were not there when it was prepared."""
    own = places_of(session, batch.first, batch.last)
    missing = [place for place, position in own.items() if position not in made]
    rows = Conversation.objects.filter(dataset=session.dataset_id, position__in=missing)
    return [
        AnalysisItem(session=session, conversation_id=pk, position=own[place], **LEFT_OUT)
        for pk, place in rows.values_list("pk", "position")
    ]


def leave_out_unread(session: AnalysisSession, batch: Batch) -> None:
    """After a range was read: what still waits in it was deleted when reading it began."""
    inside = session.items.filter(position__gte=batch.first, position__lt=batch.last)
    leave_out(session, inside.filter(outcome=Outcome.WAITING).update(**LEFT_OUT))


@dataclass(frozen=True, slots=True)
class Reading:
    """One conversation's outcome with the words shown and embedded for it."""

    conversation: int
    result: FacetsRead | ItemFailed
    title: str = ""
    summary: str = ""
    text: str = ""


def readings(
    session: AnalysisSession, facet_ids: Mapping[str, int], rows: Sequence[Reading]
) -> None:
    """Outcomes and answers of a read range."""
    AnalysisItem.objects.bulk_create(
        [_outcome(session, row) for row in rows],
        update_conflicts=True,
        unique_fields=["session", "position"],
        update_fields=["outcome", "error_class", "error", "title", "summary", "text", "model"],
        batch_size=CHUNK,
    )
    positions = [row.result.position for row in rows]
    ids = dict(session.items.filter(position__in=positions).values_list("position", "pk"))
    insert_rows(
        FacetValue,
        VALUE_COLUMNS,
        (
            (ids[row.result.position], facet_ids[key], *_typed(answer))
            for row in rows
            if isinstance(row.result, FacetsRead)
            for key, answer in row.result.values.items()
            if key in facet_ids and answer is not None
        ),
    )


def _outcome(session: AnalysisSession, row: Reading) -> AnalysisItem:
    item = AnalysisItem(
        session=session, conversation_id=row.conversation, position=row.result.position
    )
    if isinstance(row.result, ItemFailed):
        item.outcome = Outcome.FAILED
        item.error_class = row.result.error_class[:20]
        item.error = clean(row.result.message)[:300]
        return item
    item.outcome = Outcome.READ
    item.model = clean(row.result.model)[:120]
    item.title = clean(row.title)[:TITLE_CHARS]
    item.text = clean(row.text)
    return item


VALUE_COLUMNS = ("item_id", "facet_id", "text", "number", "flag", "entries")


def _typed(answer: FacetAnswer) -> tuple[str | None, float | None, bool | None, str | None]:
    """The answer in the column of its type."""
    if isinstance(answer, bool):
        return None, None, answer, None
    if isinstance(answer, (int, float)):
        return None, float(answer), None, None
    if isinstance(answer, str):
        return clean(answer), None, None, None
    if answer is None:
        return None, None, None, None
    return None, None, None, json.dumps([clean(entry) for entry in answer], ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class FinalTree:
    """The finished tree with the rows of every node and the privacy verdicts."""

    nodes: Sequence[TreeNode]
    groups: Mapping[int, npt.NDArray[np.int64]]
    users: Mapping[int, int | None]
    verdicts: Mapping[int, PrivacyVerdict]
    notice: str
    model: str


def tree(session: AnalysisSession, final: FinalTree, rows: ReadRows, labels: Any) -> None:
    """Replace provisional clusters by the final ones, with their members."""
    session.clusters.all().delete()
    hues = theme_hues(final)
    made: dict[int, Cluster] = {}
    for order, node in enumerate(in_reading_order(final)):
        verdict = final.verdicts[node.key]
        cluster = Cluster(
            session=session,
            parent=made.get(node.parent) if node.parent is not None else None,
            key=node.key,
            level=node.level,
            leaf=node.leaf,
            name=node.name[:160],
            description=node.description,
            size=len(final.groups[node.key]),
            users=final.users[node.key],
            hue=hues[node.key],
            order=order,
            shown=verdict.shown,
            withheld_for=verdict.reason,
            privacy_score=verdict.score,
            model=(node.model or final.model)[:120],
        )
        cluster.save()
        made[node.key] = cluster
    _members(made, rows, labels)
    session.notice = final.notice[:400]
    session.save(update_fields=["notice"])
    place_clusters(session)
    publish(
        session.topic,
        PictureChanged(conversations=len(rows.items), clusters=len(made), provisional=False),
    )


def _members(made: Mapping[int, Cluster], rows: ReadRows, labels: Any) -> None:
    by_leaf = {cluster.leaf: cluster.pk for cluster in made.values() if cluster.leaf is not None}
    insert_rows(
        ClusterMembership,
        ("cluster_id", "item_id"),
        (
            (by_leaf[int(label)], item)
            for item, label in zip(rows.items, labels, strict=True)
            if int(label) in by_leaf
        ),
    )


def theme_hues(final: FinalTree) -> dict[int, int]:
    """The ten largest themes get hues 1 to 10, the rest share the last; clusters inherit."""
    themes = [node for node in final.nodes if node.parent is None]
    themes.sort(key=lambda node: (-len(final.groups[node.key]), node.key))
    hues = {node.key: min(HUES, rank + 1) for rank, node in enumerate(themes)}
    for node in sorted(final.nodes, key=lambda node: node.level):
        if node.parent is not None:
            hues[node.key] = hues[node.parent]
    return hues


def in_reading_order(final: FinalTree) -> list[TreeNode]:
    """Depth first, larger groups before smaller ones."""
    children: dict[int | None, list[TreeNode]] = {}
    for node in final.nodes:
        children.setdefault(node.parent, []).append(node)
    for siblings in children.values():
        siblings.sort(key=lambda node: (-len(final.groups[node.key]), node.key))
    ordered: list[TreeNode] = []
    stack = list(reversed(children.get(None, [])))
    while stack:
        node = stack.pop()
        ordered.append(node)
        stack.extend(reversed(children.get(node.key, [])))
    return ordered


def place_clusters(session: AnalysisSession) -> None:
    """Put every cluster's label at the middle of its dots; needs both tree and map."""
    xy = artifacts.load(session, ArtifactKind.MAP)
    labels = artifacts.load(session, ArtifactKind.LABELS)
    clusters = list(session.clusters.filter(provisional=False))
    if xy is None or labels is None or not clusters or len(xy) != len(labels):
        return  # one of them is yet to be made, or made anew
    places = from_u16(np.asarray(xy))
    labels = np.asarray(labels)
    inside: dict[int, list[int]] = {}
    by_pk = {cluster.pk: cluster for cluster in clusters}
    for cluster in clusters:
        node: Cluster | None = cluster
        while cluster.leaf is not None and node is not None:
            inside.setdefault(node.pk, []).append(cluster.leaf)
            node = by_pk.get(node.parent_id) if node.parent_id else None
    for cluster in clusters:
        dots = places[np.isin(labels, inside.get(cluster.pk, []))]
        if len(dots):
            cluster.x, cluster.y = (float(v) for v in np.median(dots, axis=0))
    Cluster.objects.bulk_update(clusters, ["x", "y"], batch_size=CHUNK)
    publish(session.topic, MapChanged(points=len(places), provisional=False))


def insights(session: AnalysisSession, found: Sequence[InsightFound]) -> None:
    """Replace the insights of an analysis, ranked."""
    clusters = dict(session.clusters.filter(provisional=False).values_list("key", "pk"))
    session.insights.all().delete()
    Insight.objects.bulk_create(
        Insight(
            session=session,
            rank=rank,
            kind=item.kind,
            title=item.title[:240],
            text=item.text,
            score=item.score,
            cluster_id=clusters.get(item.node) if item.node is not None else None,
            facet=item.facet[:40],
            count=item.count,
            share=item.share,
            low=item.low,
            high=item.high,
        )
        for rank, item in enumerate(found, start=1)
    )
    publish(session.topic, InsightsFound(count=len(found)))
