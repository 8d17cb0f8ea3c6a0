"""What leaves an analysis as files: clusters, conversations, the run's own figures.

Withheld groups are counted but never named: their conversations appear with an empty cluster.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from django.db.models import Sum

from analyses import artifacts
from analyses.models import AnalysisSession, ArtifactKind, Outcome
from analyses.pipeline.coordinates import from_u16
from analyses.runner.sources import facet_columns
from analyses.selectors.tree import tree_of
from providers.models import CallState, LlmCall

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""Beginnings that spreadsheets take for a formula (OWASP, CSV injection)."""

HARMLESS_ID = re.compile(r"[-+@=]?[\w.:/#@~-]*", re.ASCII)
"""Ids that call and compute nothing, so that they can stay exactly as they came."""

CHUNK = 2000


def clusters_json(session: AnalysisSession) -> list[dict[str, Any]]:
    """Clusters that may be shown as JSON: id, parent, level, name, description, size.

    Final ones, parents first; provisional ones, marked as such, while there are no others.
    """
    tree = tree_of(session)
    mark = {"provisional": True} if tree.provisional else {}
    return [
        {
            "id": node.key,
            "parent": node.parent.key if node.parent else None,
            "level": node.cluster.level,
            "name": node.cluster.name,
            "description": node.cluster.description,
            "size": node.cluster.size,
            **mark,
        }
        for node in tree.walk()
    ]


def conversations_csv(session: AnalysisSession) -> Iterator[str]:
    """One row for every conversation of the analysis, in the order of the file.

    Ids are as in the file. Those that were not read have empty cells; those in no cluster, or in
    one that is withheld, have an empty theme and cluster.
    """
    specs = list(session.template_version.facets.all())
    yield _line(["id", "theme", "cluster", *(facet.key for facet in specs), "x", "y"])
    # First what the end of reading brings, then what was read: then the rows of both agree.
    places, groups = _places(session), _groups(session)
    items = session.items.filter(outcome=Outcome.READ).order_by("position")
    read = list(items.values_list("position", "pk"))
    row_of = {position: row for row, (position, _) in enumerate(read)}
    columns = facet_columns(session, [pk for _, pk in read])
    answers = [columns[facet.key] for facet in specs]
    for position, external_id in _ids(session):
        row = row_of.get(position)
        if row is None:
            yield _line([safe_id(external_id), *[""] * (len(specs) + 4)])
            continue
        theme, cluster = groups.get(row, ("", ""))
        x, y = places[row] if row < len(places) else ("", "")
        yield _line(
            [
                safe_id(external_id),
                safe(theme),
                safe(cluster),
                *(safe(_text(column[row])) for column in answers),
                _coordinate(x),
                _coordinate(y),
            ]
        )


def _ids(session: AnalysisSession) -> Iterator[tuple[int, str]]:
    """Position and id of every conversation the analysis is about, in order."""
    rows = session.dataset.conversations.filter(position__lt=session.total).order_by("position")
    return rows.values_list("position", "external_id").iterator(CHUNK)


def _groups(session: AnalysisSession) -> dict[int, tuple[str, str]]:
    """Theme and cluster of every row read that may be shown; none before the tree is final."""
    labels = artifacts.load(session, ArtifactKind.LABELS)
    tree = tree_of(session)
    if labels is None or tree.provisional:
        return {}
    names = {
        node.cluster.leaf: (node.theme.cluster.name, node.cluster.name)
        for node in tree.walk()
        if node.cluster.leaf is not None
    }
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


def safe_id(text: str) -> str:
    """An id as it came, unless a spreadsheet could run it."""
    return text if HARMLESS_ID.fullmatch(text) else safe(text)


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
        "withheld": tree_of(session).hidden_groups,
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
