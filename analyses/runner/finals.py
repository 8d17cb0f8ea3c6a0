"""Handlers that look at the finished tree: privacy, insights and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from analyses import artifacts
from analyses.models import AnalysisSession, ArtifactKind
from analyses.pipeline.insights import InsightsStage
from analyses.pipeline.local.engine import MODEL_LABEL
from analyses.pipeline.local.groups import theme_text
from analyses.pipeline.privacy import PrivacyParams, PrivacyStage, scale_floors
from analyses.pipeline.records import (
    AnalysisTable,
    GroupFacts,
    PrivacyVerdict,
    ReportInputs,
    TreeNode,
)
from analyses.pipeline.report import ReportStage
from analyses.runner import saving, sources
from analyses.runner.job import Job
from analyses.runner.noting import noted, warn
from providers.models import CallState, LlmCall

UNNAMED = "Smaller groups"
"""Name of a theme of which every cluster is withheld."""


def node_to_json(node: TreeNode) -> dict[str, Any]:
    """A tree node as JSON."""
    return asdict(node)


def nodes_of(session: AnalysisSession) -> list[TreeNode]:
    """The tree as the hierarchy stage left it."""
    return [TreeNode(**item) for item in artifacts.load_json(session, ArtifactKind.TREE) or []]


def labels_of(session: AnalysisSession) -> npt.NDArray[np.int32]:
    """The base cluster of every row."""
    labels = artifacts.load(session, ArtifactKind.LABELS)
    return np.asarray(labels) if labels is not None else np.zeros(0, dtype=np.int32)


async def privacy(job: Job) -> None:
    """Floors and the text check; then the tree becomes visible."""
    session = job.session
    nodes = await job.db(nodes_of, session)
    labels = await job.db(labels_of, session)
    users = await job.db(sources.end_users, session)
    rows = await job.db(sources.read_rows, session)
    groups = sources.rows_by_node(nodes, labels)
    counted = _users_by_node(groups, users)
    floors = scale_floors(
        len(users),
        has_users=any(users),
        distinct_users=len({user for user in users if user}),
        conversations=max(1, job.params.floor_conversations),
        users=job.params.floor_users,
    )
    facts = [
        GroupFacts(
            key=node.key,
            parent=node.parent,
            level=node.level,
            name=node.name,
            description=node.description,
            conversations=len(groups[node.key]),
            users=counted[node.key],
        )
        for node in nodes
    ]
    stage = PrivacyStage(PrivacyParams(floors=floors))
    job, port = noted(job)
    records: list[PrivacyVerdict] = await job.records(stage, facts)
    verdicts = {verdict.key: verdict for verdict in records}
    final = saving.FinalTree(
        nodes=reworded(nodes, groups, verdicts),
        groups=groups,
        users=counted,
        verdicts=verdicts,
        notice=floors.notice,
        model=session.chat.model if session.chat else "local engine",
    )

    def write(locked: AnalysisSession) -> None:
        saving.tree(locked, final, rows, labels)
        warn(locked, job, port, "privacy")

    await job.save(write)


def reworded(
    nodes: Sequence[TreeNode],
    groups: Mapping[int, npt.NDArray[np.int64]],
    verdicts: Mapping[int, PrivacyVerdict],
) -> list[TreeNode]:
    """The tree with every parent of a withheld group named from its shown children alone.

    Names of parents are made from all children before the floors are looked at, and would tell
    what a withheld group is about.
    """
    found = {node.key: node for node in nodes}
    changed: set[int] = set()
    for node in sorted(nodes, key=lambda node: -node.level):
        inside = [found[other.key] for other in nodes if other.parent == node.key]
        shown = [child for child in inside if verdicts[child.key].shown]
        if len(shown) == len(inside) and not changed.intersection(c.key for c in inside):
            continue
        taken = [other.name for other in found.values() if other.level == node.level]
        children = [{"name": child.name, "size": len(groups[child.key])} for child in shown]
        name, description = theme_text(children, taken) if children else (UNNAMED, "")
        found[node.key] = replace(node, name=name, description=description, model=MODEL_LABEL)
        changed.add(node.key)
    return [found[node.key] for node in nodes]


def _users_by_node(
    groups: Mapping[int, npt.NDArray[np.int64]], users: Sequence[str]
) -> dict[int, int | None]:
    """Distinct end users of every node; ``None`` when the data names none."""
    if not any(users):
        return dict.fromkeys(groups)
    _, numbers = np.unique(np.array(users, dtype=object).astype(str), return_inverse=True)
    return {key: len(np.unique(numbers[rows])) for key, rows in groups.items()}


async def insights(job: Job) -> None:
    """What is worth a look, among groups that may be shown."""
    table = await job.db(table_of, job.session)
    found = await job.records(InsightsStage(), table)
    await job.save(lambda session: saving.insights(session, found))


def table_of(session: AnalysisSession) -> AnalysisTable:
    """The finished analysis as columns."""
    names = dict(session.clusters.filter(provisional=False).values_list("key", "name"))
    nodes = [replace(node, name=names.get(node.key, node.name)) for node in nodes_of(session)]
    named = session.clusters.filter(provisional=False, shown=True).exclude(parent__shown=False)
    shown = named.values_list("key", flat=True)
    groups = sources.rows_by_node(nodes, labels_of(session))
    return AnalysisTable(
        nodes=nodes,
        groups={key: rows.tolist() for key, rows in groups.items()},
        specs=sources.specs(session),
        facets=sources.facet_columns(session),
        started=sources.started(session),
        users=sources.end_users(session),
        languages=sources.languages(session),
        shown=frozenset(shown),
    )


async def report(job: Job) -> None:
    """The report card."""
    inputs = await job.db(_report_inputs, job.session)
    (card,) = await job.records(ReportStage(), inputs)
    path = artifacts.write_json(
        job.session, ArtifactKind.REPORT, job.batch.mark, dict(card.figures)
    )
    await job.save(lambda session: artifacts.point(session, ArtifactKind.REPORT, path))


def _report_inputs(session: AnalysisSession) -> ReportInputs:
    nodes, labels = unnamed(session, nodes_of(session)), labels_of(session)
    groups = sources.rows_by_node(nodes, labels)
    vectors = artifacts.load(session, ArtifactKind.VECTORS)
    calls = LlmCall.objects.filter(analysis_id=session.pk)
    hidden = session.clusters.filter(provisional=False, shown=False)
    totals = {
        "tokens_in": session.tokens_in,
        "tokens_out": session.tokens_out,
        "cost": float(session.cost),
        "unpriced_calls": session.unpriced_calls,
        "calls": calls.count(),
        "in_doubt": calls.filter(state=CallState.SENT).count(),
        "retries": session.retry_count,
        "warnings": session.warnings,
        "seconds": _seconds(session),
        "withheld": hidden.count(),
        "floors": session.notice,
    }
    return ReportInputs(
        read=session.read_count,
        failed=session.failed_count,
        total=session.total,
        vectors=np.asarray(vectors) if vectors is not None else np.zeros((0, 1), np.float32),
        labels=labels,
        nodes=nodes,
        groups={key: rows.tolist() for key, rows in groups.items()},
        totals=totals,
    )


def unnamed(session: AnalysisSession, nodes: list[TreeNode]) -> list[TreeNode]:
    """The tree without the words of withheld groups: the report counts them, but names none."""
    shown = session.clusters.filter(provisional=False, shown=True).exclude(parent__shown=False)
    keys = set(shown.values_list("key", flat=True))
    return [
        node
        if node.key in keys
        else replace(node, name=f"Withheld group {node.key}", description="")
        for node in nodes
    ]


def _seconds(session: AnalysisSession) -> dict[str, float]:
    """How long each finished stage took."""
    return {
        stage.key: round((stage.finished_at - stage.started_at).total_seconds(), 2)
        for stage in session.stages.all()
        if stage.finished_at and stage.started_at
    }
