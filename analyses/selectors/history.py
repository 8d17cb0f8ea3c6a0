"""What the models of a workspace did before: how long their answers are and how long they take."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from analyses.models import AnalysisSession, Outcome
from analyses.pipeline.forecast import KEYS, Observed, Range
from providers.models import CallState, LlmCall, ModelDeployment
from templates_app.models import TemplateVersion

CALLS = 200
"""Latest calls of each kind looked at."""
ENOUGH = 8
"""Fewer calls than this say nothing."""
STATEMENTS = 60
SESSIONS = 200
"""Latest analyses of a workspace among which a model's own are looked for."""
SCALE = (0.5, 2.0)
"""A count of tokens further from ours than this is not believed."""


@dataclass(frozen=True, slots=True)
class History:
    """What is known of a model. ``latency`` is seconds a call: first quartile, mean, ninth decile.

    ``statements`` are texts it wrote; ``scale`` is its count of the tokens sent over ours.
    """

    observed: dict[str, Observed] = field(default_factory=dict)
    latency: Range | None = None
    statements: tuple[str, ...] = ()
    scale: float = 1.0

    @property
    def answers(self) -> int:
        """How many answers this rests on."""
        return sum(seen.calls for seen in self.observed.values())


Row = tuple[int, int, int | None]


def history_of(
    workspace_id: int, models: Sequence[ModelDeployment], version: TemplateVersion
) -> dict[int, History]:
    """History by a model's primary key, for those that have one. One query, six a model known."""
    rows = (
        AnalysisSession.objects.filter(project__workspace=workspace_id, chat__in=models)
        .order_by("-pk")
        .only("chat_id", "template_version_id", "estimate")[:SESSIONS]
    )
    found: dict[int, History] = {}
    sessions = list(rows)
    for model in models:
        own = [row for row in sessions if row.chat_id == model.pk]
        same = [row for row in own if row.template_version_id == version.pk]
        if own:
            found[model.pk] = _of(model, (same or own)[0], bool(same))
    return found


def _of(model: ModelDeployment, session: AnalysisSession, same: bool) -> History:
    observed: dict[str, Observed] = {}
    delays: list[int] = []
    scale = 1.0
    for key in KEYS:
        if key == "embeddings":
            continue
        rows = _calls(model, session, key)
        delays += [row[2] for row in rows if row[2]]
        if len(rows) < ENOUGH:
            continue
        if key == "facets":
            scale = _scale(session, rows)
        if same or key != "facets":
            answered = [row[1] for row in rows]
            observed[key] = Observed(
                len(rows), statistics.fmean(answered), statistics.stdev(answered)
            )
    statements = _statements(session) if same and "facets" in observed else ()
    return History(observed, _latency(delays), statements, scale)


def _calls(model: ModelDeployment, session: AnalysisSession, key: str) -> list[Row]:
    rows = LlmCall.objects.filter(
        analysis_id=session.pk,
        state=CallState.OK,
        purpose=key,
        provider=model.provider.name,
        tokens_out__gt=0,
    ).order_by("-pk")
    return list(rows.values_list("tokens_in", "tokens_out", "latency_ms")[:CALLS])


def _statements(session: AnalysisSession) -> tuple[str, ...]:
    rows = session.items.filter(outcome=Outcome.READ).exclude(text="").order_by("position")
    return tuple(rows.values_list("text", flat=True)[:STATEMENTS])


def _latency(delays: Sequence[int]) -> Range | None:
    """Seconds a call, from milliseconds; ``None`` for too few."""
    if len(delays) < ENOUGH:
        return None
    cuts = statistics.quantiles(delays, n=20)
    mean = statistics.fmean(delays)
    return Range(min(cuts[4], mean) / 1000, mean / 1000, max(cuts[17], mean) / 1000)


def _scale(session: AnalysisSession, rows: Sequence[Row]) -> float:
    """The model's count of a reading request over what was expected of it with our vocabulary."""
    stages = session.estimate.get("stages") or ()
    expected = next((row for row in stages if row.get("key") == "facets"), None)
    if not expected or not expected["calls"][1]:
        return 1.0
    ours = expected["tokens_in"][1] / expected["calls"][1] / session.estimate.get("scale", 1.0)
    found = statistics.fmean(row[0] for row in rows) / max(1.0, ours)
    return min(SCALE[1], max(SCALE[0], found)) if rows[0][0] else 1.0
