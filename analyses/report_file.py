"""The results of an analysis as files: a self-contained report and its data."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
from django.contrib.staticfiles import finders
from django.template.loader import render_to_string

from analyses import artifacts, export
from analyses.models import AnalysisSession, ArtifactKind

MAP_DOTS = 60_000
"""Most dots drawn into a report; more would make the file slow to open."""


def write_results(session: AnalysisSession, folder: Path) -> None:
    """Write ``report.html``, ``clusters.json``, ``conversations.csv`` and ``run.json``.

    Each file appears under its name only when it is complete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _put(folder / "clusters.json", export.as_text(export.clusters_json(session)))
    _put(folder / "run.json", export.as_text(export.run_json(session)))
    with _part(folder / "conversations.csv").open("w", encoding="utf-8", newline="") as out:
        out.writelines(export.conversations_csv(session))
    _part(folder / "conversations.csv").replace(folder / "conversations.csv")
    _put(folder / "report.html", report_html(session))


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _put(path: Path, text: str) -> None:
    _part(path).write_text(text, encoding="utf-8")
    _part(path).replace(path)


def report_html(session: AnalysisSession) -> str:
    """The report as one page that needs nothing else: styles, map and figures inside."""
    clusters = export.shown_clusters(session)
    themes = [row for row in clusters if row.level == 1]
    return render_to_string(
        "analyses/report_file.html",
        {
            "session": session,
            "run": export.run_json(session),
            "card": export.report_json(session),
            "themes": [
                {"theme": theme, "clusters": [row for row in clusters if row.parent_id == theme.pk]}
                for theme in themes
            ],
            "insights": list(session.insights.select_related("cluster")[:10]),
            "styles": _source("css/openclio.css"),
            "script": _source("js/report.js"),
            "dots": _dots(session, clusters),
        },
    )


def _source(name: str) -> str:
    """A static file's text, to be put inside the page."""
    path = finders.find(name)
    return Path(path).read_text(encoding="utf-8") if isinstance(path, str) else ""


def _dots(session: AnalysisSession, clusters: list[Any]) -> dict[str, Any]:
    """Places and hues of the dots (base64), and the labels of themes."""
    xy = artifacts.load(session, ArtifactKind.MAP)
    labels = artifacts.load(session, ArtifactKind.LABELS)
    if xy is None or labels is None:
        return {"count": 0, "xy": "", "hues": "", "labels": []}
    hue_of = {row.leaf: row.hue for row in clusters if row.leaf is not None}
    step = max(1, len(xy) // MAP_DOTS)
    places = np.ascontiguousarray(np.asarray(xy)[::step], dtype="<u2")
    hues = np.array([hue_of.get(int(label), 0) for label in labels[::step]], dtype=np.uint8)
    return {
        "count": len(places),
        "xy": base64.b64encode(places.tobytes()).decode(),
        "hues": base64.b64encode(hues.tobytes()).decode(),
        "labels": [
            {"text": row.name, "x": row.x, "y": row.y}
            for row in clusters
            if row.level == 1 and row.x is not None
        ],
    }
