"""What leaves an analysis as files: clusters, conversations, the run's own figures.

Withheld groups are counted but never named: their conversations appear with an empty cluster.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from django.db.models import Sum

from analyses import artifacts
from analyses.models import AnalysisSession, ArtifactKind, FacetValue, Outcome
from analyses.pipeline.coordinates import from_u16
from analyses.pipeline.records import FacetAnswer
from analyses.selectors.asked import places_of
from analyses.selectors.readers import mixed_text, readers_of
from analyses.selectors.tree import Tree, tree_of
from providers.models import CallState, LlmCall

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""Beginnings that spreadsheets take for a formula (OWASP, CSV injection)."""

HARMLESS_ID = re.compile(r"[-+@=]?[\w.:/#@~-]*", re.ASCII)
"""Ids that call and compute nothing, so that they can stay exactly as they came."""

CHUNK = 2000

DELETED = "(deleted)"
"""Stands for the theme of a conversation that was deleted after the analysis."""


def clusters_json(session: AnalysisSession) -> list[dict[str, Any]]:
    """Clusters that may be shown as JSON: id, parent, level, name, description, size, and the
    model that named each.

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
            "model": node.cluster.model,
            **mark,
        }
        for node in tree.walk()
    ]


@dataclass(frozen=True, slots=True)
class Row:
    """A conversation as it leaves. One that was not read has neither group, answers nor place."""

    position: int
    id: str
    theme: str = ""
    cluster: str = ""
    answers: Mapping[str, FacetAnswer] = field(default_factory=dict)
    place: tuple[float, float] | None = None
    model: str = ""
    deleted: bool = False


class Rows:
    """Turns positions of an analysis into rows, some at a time, in bounded memory."""

    def __init__(self, session: AnalysisSession) -> None:
        self.session = session
        self.specs = list(session.template_version.facets.all())
        self._keys = {facet.pk: facet.key for facet in self.specs}
        # First what the end of reading brings, then what was read: then the rows of both agree.
        xy = artifacts.load(session, ArtifactKind.MAP)
        self._labels = artifacts.load(session, ArtifactKind.LABELS)
        self._names = _names(tree_of(session))
        self._xy = from_u16(np.asarray(xy)) if xy is not None else np.empty((0, 2))
        read = session.items.filter(outcome=Outcome.READ).order_by("position")
        self._read = np.fromiter(read.values_list("position", flat=True).iterator(CHUNK), np.int64)

    @property
    def head(self) -> str:
        """The first line of the CSV file."""
        return _line(
            ["id", "theme", "cluster", *(facet.key for facet in self.specs), "x", "y", "model"]
        )

    def of(self, wanted: Sequence[tuple[int, str, bool]]) -> Iterator[Row]:
        """Rows of conversations given as position, id and whether they were deleted."""
        positions = [position for position, _, deleted in wanted if not deleted]
        answers = self._answers(positions)
        models = dict(
            self.session.items.filter(position__in=positions).values_list("position", "model")
        )
        for position, external_id, deleted in wanted:
            if deleted or position not in answers:
                yield Row(position, external_id, deleted=deleted)
                continue
            row = int(np.searchsorted(self._read, position))
            theme, cluster = self._group(row)
            place = self._xy[row] if row < len(self._xy) else None
            yield Row(
                position=position,
                id=external_id,
                theme=theme,
                cluster=cluster,
                answers=answers[position],
                place=(float(place[0]), float(place[1])) if place is not None else None,
                model=models[position],
            )

    def _answers(self, positions: Sequence[int]) -> dict[int, dict[str, FacetAnswer]]:
        """The answers of those that were read, by position. Two queries."""
        items = self.session.items.filter(position__in=positions, outcome=Outcome.READ)
        place_of = dict(items.values_list("pk", "position"))
        found: dict[int, dict[str, FacetAnswer]] = {place: {} for place in place_of.values()}
        values = FacetValue.objects.filter(item_id__in=list(place_of))
        wanted = ("item_id", "facet_id", "text", "number", "flag", "entries")
        for item, facet, text, number, flag, entries in values.values_list(*wanted):
            answer = next((v for v in (text, number, flag) if v is not None), None)
            if facet in self._keys:
                answers = found[place_of[item]]
                answers[self._keys[facet]] = tuple(entries) if entries is not None else answer
        return found

    def _group(self, row: int) -> tuple[str, str]:
        if self._labels is None or row >= len(self._labels):
            return "", ""
        return self._names.get(int(self._labels[row]), ("", ""))

    def csv(self, row: Row) -> str:
        """A line of the CSV file."""
        if row.deleted:
            return _line([safe_id(row.id), DELETED, *[""] * (len(self.specs) + 4)])
        x, y = row.place or ("", "")
        return _line(
            [
                safe_id(row.id),
                safe(row.theme),
                safe(row.cluster),
                *(safe(_text(row.answers.get(facet.key))) for facet in self.specs),
                _coordinate(x),
                _coordinate(y),
                safe(row.model),
            ]
        )

    def json(self, row: Row) -> str:
        """A line of the JSON Lines file."""
        data: dict[str, Any] = {"id": row.id, "position": row.position}
        if row.deleted:
            return json.dumps({**data, "deleted": True}, ensure_ascii=False) + "\n"
        data |= {"theme": row.theme or None, "cluster": row.cluster or None}
        data["facets"] = {facet.key: row.answers.get(facet.key) for facet in self.specs}
        data["place"] = row.place
        data["model"] = row.model or None
        return json.dumps(data, ensure_ascii=False) + "\n"


def conversations_csv(session: AnalysisSession) -> Iterator[str]:
    """One row for every conversation of the analysis, in the order of the file.

    Ids are as in the file. Those that were not read have empty cells; those in no cluster, or in
    one that is withheld, have an empty theme and cluster. Deleted ones say so.
    """
    rows = Rows(session)
    yield rows.head
    wanted = _ids(session)
    while some := list(islice(wanted, CHUNK)):
        yield from map(rows.csv, rows.of(some))


def _ids(session: AnalysisSession) -> Iterator[tuple[int, str, bool]]:
    """Position, id and whether it is deleted, of every conversation of the analysis, in order."""
    for first in range(0, session.total, CHUNK):
        own = places_of(session, first, min(first + CHUNK, session.total))
        rows = session.dataset.conversations.filter(position__in=own)
        for position, external_id, gone in rows.order_by("position").values_list(
            "position", "external_id", "deleted_at"
        ):
            yield own[position], external_id, gone is not None


def _names(tree: Tree) -> dict[int, tuple[str, str]]:
    """Theme and cluster of every base cluster that may be shown; none before they are final."""
    if tree.provisional:
        return {}
    return {
        node.cluster.leaf: (node.theme.cluster.name, node.cluster.name)
        for node in tree.walk()
        if node.cluster.leaf is not None
    }


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
    readers = readers_of(session)
    return {
        "name": session.name,
        "status": session.status,
        "detail": session.detail,
        "engine": session.chat.model if session.chat else "local engine",
        "readers": [asdict(reader) for reader in readers],
        "mixed": mixed_text(readers),
        "model_changes": [
            {
                "before": change.before,
                "after": change.after,
                "position": change.position,
                "agreement": change.agreement or None,
            }
            for change in session.changes.all()
        ],
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
        "estimate": session.estimate or None,
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
