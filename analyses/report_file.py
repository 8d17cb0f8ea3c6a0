"""The results of an analysis as files: a self-contained report and its data."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from django.contrib.staticfiles import finders
from django.template.loader import render_to_string
from django.utils import timezone

from analyses import export, plan
from analyses.models import AnalysisSession
from analyses.selectors import mapdata
from analyses.selectors.summary import failures_of, summary_of
from analyses.selectors.tree import Node, Tree

MAP_DOTS = 60_000
"""Most dots drawn into a report; more would make the file slow to open."""

FEWEST_DOTS = 50
"""Under this many conversations a list says more than a map."""

INSIGHTS = 12

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
    "font-src data:; img-src data:; base-uri 'none'; form-action 'none'"
)
"""What the page may do: nothing over the network, and no script but its own (CSP level 3)."""


def write_results(session: AnalysisSession, folder: Path) -> None:
    """Write ``report.html``, ``clusters.json``, ``conversations.csv`` and ``run.json``.

    Each file appears under its name only when it is complete. Raises ``OSError`` when the folder
    cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _put(folder / "clusters.json", [export.as_text(export.clusters_json(session))])
    _put(folder / "run.json", [export.as_text(export.run_json(session))])
    _put(folder / "conversations.csv", export.conversations_csv(session))
    _put(folder / "report.html", [report_html(session)])


def _put(path: Path, parts: Iterable[str]) -> None:
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8", newline="") as out:
            out.writelines(parts)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def report_html(session: AnalysisSession) -> str:
    """The report as one page that needs nothing else: styles, map and figures inside.

    It holds names, descriptions and figures, never the text of a conversation.
    """
    summary = summary_of(session)
    script = _source("js/report.js")
    shown = set(summary.tree.by_key)
    insights = session.insights.select_related("cluster")
    return render_to_string(
        "analyses/report_file.html",
        {
            "session": session,
            "s": summary,
            "run": export.run_json(session),
            "insights": [
                insight
                for insight in insights
                if insight.cluster is None or insight.cluster.key in shown
            ][:INSIGHTS],
            "failures": failures_of(session),
            "stages": _stages(session),
            "made_at": timezone.localtime(),
            # Our own files, which the template leaves as they are; nothing else is in them.
            "styles": _styles(),
            "script": script,
            "policy": POLICY.format(digest=_digest(script)),
            "map": _map(session, summary.tree),
        },
    )


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@cache
def _source(name: str) -> str:
    """A static file's text, to be put inside the page."""
    path = finders.find(name)
    if not isinstance(path, str):
        raise FileNotFoundError(f"The static file {name} is missing.")
    return Path(path).read_text(encoding="utf-8")


@cache
def _styles() -> str:
    """The product's stylesheet with its font inside, and the report's own rules."""
    found = finders.find("fonts/inter.woff2")
    font = base64.b64encode(Path(str(found)).read_bytes()).decode() if found else ""
    shared = re.sub(
        r"url\(\.\./fonts/inter\.woff2\)",
        lambda _: f"url(data:font/woff2;base64,{font})",
        _source("css/openclio.css"),
    )
    return shared + _source("css/report.css")


def _stages(session: AnalysisSession) -> list[dict[str, Any]]:
    """How long each finished stage took."""
    labels = {step.key: step.label for step in plan.STAGES}
    return [
        {
            "label": labels.get(stage.key, stage.key),
            "seconds": (stage.finished_at - stage.started_at).total_seconds(),
        }
        for stage in session.stages.all()
        if stage.finished_at and stage.started_at
    ]


def _map(session: AnalysisSession, tree: Tree) -> dict[str, Any] | None:
    """Places (uint16 pairs) and clusters (uint16 indices) of the dots in base64, little-endian.

    ``None`` when there is no map or too little to draw.
    """
    found = mapdata.picture(session, tree)
    if found is None or len(found.xy) < FEWEST_DOTS:
        return None
    step = -(-len(found.xy) // MAP_DOTS)
    nodes = list(tree.walk())
    place_of = {node.key: place for place, node in enumerate(nodes)}
    groups = [place_of.get(int(key), mapdata.NO_CLUSTER) for key in found.keys[::step]]
    return {
        "xy": _packed(found.xy[::step]),
        "groups": _packed(np.array(groups)),
        "count": len(groups),
        "total": len(found.xy),
        "provisional": found.provisional,
        "clusters": [_cluster(node) for node in nodes],
    }


def _packed(values: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype="<u2").tobytes()).decode()


def _cluster(node: Node) -> dict[str, Any]:
    return {
        "key": node.key,
        "name": node.cluster.name,
        "theme": node.theme.cluster.name,
        "top": node.theme.key,
        "level": node.cluster.level,
        "hue": node.cluster.hue,
        "size": node.count,
        "x": node.cluster.x,
        "y": node.cluster.y,
    }
