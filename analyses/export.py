"""What leaves an analysis as files: clusters, conversations, the run's own figures.

Withheld groups are counted but never named: their conversations appear with an empty cluster.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from django.db.models import Sum

from analyses import artifacts
from analyses.models import AnalysisSession, ArtifactKind, Cluster, Outcome
from analyses.pipeline.map import from_u16
from analyses.runner.sources import facet_columns
from providers.models import CallState, LlmCall

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""Beginnings that spreadsheets take for a formula (OWASP, CSV injection)."""


def shown_clusters(session: AnalysisSession) -> list[Cluster]:
    """The clusters that may be shown, in reading order: final ones, or provisional before."""
    final = list(session.clusters.filter(provisional=False))
    rows = final or list(session.clusters.filter(provisional=True))
    hidden = {row.pk for row in rows if not row.shown}
    return [row for row in rows if row.shown and row.parent_id not in hidden]


def clusters_json(session: AnalysisSession) -> list[dict[str, Any]]:
    """Clusters as JSON: id, parent, level, name, description, size."""
    rows = shown_clusters(session)
    keys = {row.pk: row.key for row in rows}
    return [
        {
            "id": row.key,
            "parent": keys.get(row.parent_id) if row.parent_id else None,
            "level": row.level,
            "name": row.name,
            "description": row.description,
            "size": row.size,
            "provisional": row.provisional,
        }
        for row in rows
    ]


def conversations_csv(session: AnalysisSession) -> Iterator[str]:
    """One row for every conversation of the analysis, in the order of the data set."""
    specs = list(session.template_version.facets.all())
    header = ["id", "theme", "cluster", *(facet.key for facet in specs), "x", "y"]
    yield _line(header)
    columns = facet_columns(session)
    places = _places(session)
    groups = _groups(session)
    row = 0
    items = session.items.select_related("conversation").defer(
        "conversation__messages", "conversation__metadata"
    )
    for item in items.order_by("position").iterator(2000):
        read = item.outcome == Outcome.READ
        answers = [columns[facet.key][row] if read else None for facet in specs]
        theme, cluster = groups.get(row, ("", "")) if read else ("", "")
        x, y = places[row] if read and row < len(places) else ("", "")
        yield _line(
            [
                safe(item.conversation.external_id),
                safe(theme),
                safe(cluster),
                *(safe(_text(answer)) for answer in answers),
                _coordinate(x),
                _coordinate(y),
            ]
        )
        row += read


def _groups(session: AnalysisSession) -> dict[int, tuple[str, str]]:
    """Theme and cluster of every row read that may be shown."""
    labels = artifacts.load(session, ArtifactKind.LABELS)
    clusters = shown_clusters(session)
    if labels is None or not clusters or clusters[0].provisional:
        return {}
    by_pk = {row.pk: row for row in clusters}
    names = {}
    for row in clusters:
        top = row
        while top.parent_id and top.parent_id in by_pk:
            top = by_pk[top.parent_id]
        if row.leaf is not None:
            names[row.leaf] = (top.name, row.name)
    return {index: names[int(label)] for index, label in enumerate(labels) if int(label) in names}


def _places(session: AnalysisSession) -> Any:
    xy = artifacts.load(session, ArtifactKind.MAP)
    return from_u16(np.asarray(xy)) if xy is not None else []


def _coordinate(value: Any) -> str:
    return "" if isinstance(value, str) else f"{float(value):.5f}"


def _text(answer: Any) -> str:
    if answer is None:
        return ""
    if isinstance(answer, bool):
        return "true" if answer else "false"
    if isinstance(answer, float):
        return f"{answer:g}"
    return "; ".join(answer) if isinstance(answer, tuple) else str(answer)


def safe(text: str) -> str:
    """A cell no spreadsheet will run: formulas get a leading quote."""
    return f"'{text}" if text.startswith(FORMULA) else text


def _line(cells: list[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue()


def run_json(session: AnalysisSession) -> dict[str, Any]:
    """The run's own figures. Seconds count from the start of the analysis."""
    begin = session.started_at or session.created_at

    def after(moment: Any) -> float | None:
        return round((moment - begin).total_seconds(), 3) if moment else None

    calls = LlmCall.objects.filter(analysis_id=session.pk)
    return {
        "name": session.name,
        "status": session.status,
        "detail": session.detail,
        "engine": session.chat.model if session.chat else "local engine",
        "conversations": session.total,
        "read": session.read_count,
        "failures": session.failed_count,
        "clusters": session.clusters.filter(provisional=False, leaf__isnull=False).count(),
        "withheld": session.clusters.filter(provisional=False, shown=False).count(),
        "seconds": {
            "first_provisional": after(session.first_preview_at),
            "stages": {stage.key: after(stage.finished_at) for stage in session.stages.all()},
            "total": after(session.finished_at),
        },
        "calls": calls.count(),
        "in_doubt": calls.filter(state=CallState.SENT).count(),
        "retries": session.retry_count,
        "repeated_calls": calls.aggregate(n=Sum("repeats"))["n"] or 0,
        "tokens_in": session.tokens_in,
        "tokens_out": session.tokens_out,
        "cost": None if session.unpriced_calls else float(session.cost),
        "unpriced_calls": session.unpriced_calls,
        "notice": session.notice,
        "warnings": session.warnings,
    }


def report_json(session: AnalysisSession) -> dict[str, Any]:
    """The report card, empty before it is made."""
    card = artifacts.load_json(session, ArtifactKind.REPORT)
    return card if isinstance(card, dict) else {}


def as_text(data: Any) -> str:
    """JSON for people: indented, letters as they are."""
    return json.dumps(data, ensure_ascii=False, indent=2)
