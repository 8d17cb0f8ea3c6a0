"""Comparisons of models on an analysis: what there is to compare, and what was found."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Count, QuerySet

from analyses.models import AnalysisItem, AnalysisSession, FacetValue, Outcome
from analyses.pipeline.records import FacetAnswer
from core import figures
from core.models import WorkStatus
from projects.models import Job, JobKind

PROBES, MOST_PROBES = 20, 200
"""Conversations asked about by default, and at most."""


def reader_of(session: AnalysisSession, but: str = "") -> str:
    """The model that gave most answers so far, apart from one; "" when nobody gave any."""
    read = session.items.filter(outcome=Outcome.READ).exclude(model__in=("", but))
    rows = read.order_by().values_list("model").annotate(count=Count("pk"))
    found = rows.order_by("-count", "model").first()
    return str(found[0]) if found else ""


def probes_of(session: AnalysisSession, model: str, count: int) -> list[tuple[int, str]]:
    """Conversations that a model answered: primary keys of items and their names, spread over the
    analysis, one of each of ``count`` equal stretches, drawn by the analysis's seed."""
    rows = answered_by(session, model).order_by("position")
    keys = list(rows.values_list("pk", flat=True))
    count = min(count, len(keys))
    drawn = [keys[_drawn(session.seed, number, len(keys), count)] for number in range(count)]
    names = AnalysisItem.objects.filter(pk__in=drawn).order_by("position")
    return list(names.values_list("pk", "conversation__external_id"))


def answered_by(session: AnalysisSession, model: str) -> QuerySet[AnalysisItem]:
    """The conversations whose answers a model gave and that were not deleted since."""
    return session.items.filter(outcome=Outcome.READ, model=model, conversation__deleted_at=None)


def _drawn(seed: int, number: int, size: int, count: int) -> int:
    """A place in one of ``count`` equal stretches of ``size`` places."""
    start, end = number * size // count, (number + 1) * size // count
    digest = hashlib.blake2b(f"{seed}:compare:{number}".encode(), digest_size=8).digest()
    return start + int.from_bytes(digest) % (end - start)


def answers_of(items: QuerySet[AnalysisItem]) -> dict[int, dict[str, FacetAnswer]]:
    """The stored answers of some conversations by item and facet. One query."""
    found: dict[int, dict[str, FacetAnswer]] = {}
    rows = FacetValue.objects.filter(item__in=items).select_related("facet")
    for row in rows:
        found.setdefault(row.item_id, {})[row.facet.key] = _answer(row)
    return found


def _answer(row: FacetValue) -> FacetAnswer:
    if row.entries is not None:
        return tuple(map(str, row.entries))
    return next((one for one in (row.flag, row.number, row.text) if one is not None), None)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison that was begun. ``facets`` are lines of
    :func:`analyses.pipeline.agreement.summed`, empty until it has ended."""

    job: Job
    before: str
    after: str
    target: int
    facets: list[dict[str, Any]]
    answered: int
    cost: Decimal | None

    @property
    def done(self) -> bool:
        """Whether there is a result to go by."""
        return bool(self.facets)

    @property
    def at(self) -> datetime | None:
        """When it ended."""
        return self.job.finished_at

    @property
    def lines(self) -> list[Line]:
        """Its facets in words."""
        return [line_of(row) for row in self.facets]


@dataclass(frozen=True, slots=True)
class Line:
    """One facet's agreement in words: the figure, and how sure or how bad it can be."""

    label: str
    text: str
    detail: str


def line_of(row: Mapping[str, Any]) -> Line:
    """A facet's line of a report in words."""
    compared = figures.count_of(int(row["compared"]), "conversation")
    if not row["compared"]:
        return Line(str(row["label"]), "Not answered", "")
    if "mean" in row:
        worst = f"worst {row['worst']:.2f}, {compared}"
        return Line(str(row["label"]), f"{row['mean']:.2f} of 1 alike", worst)
    between = f"{figures.share(row['low'])} to {figures.share(row['high'])}, {compared}"
    near = ", one apart allowed" if row["rule"] == "within 1" else ""
    return Line(str(row["label"]), f"{figures.share(row['share'])} the same{near}", between)


def comparisons_of(session: AnalysisSession) -> list[Comparison]:
    """All comparisons of an analysis, newest first. One query."""
    jobs = Job.objects.filter(
        project=session.project_id,
        kind=JobKind.COMPARE,
        params__settings__analysis=session.number,
    )
    return [_comparison(job) for job in jobs]


def _comparison(job: Job) -> Comparison:
    told: dict[str, Any] = job.result
    ended = job.status == WorkStatus.DONE
    cost = told.get("cost")
    return Comparison(
        job=job,
        before=str(told.get("before", "")),
        after=str(told.get("after", "")),
        target=int(job.params["settings"]["chat"]),
        facets=list(told.get("facets", [])) if ended else [],
        answered=len(told.get("marks", [])),
        cost=None if cost is None else Decimal(str(cost)),
    )


def agreement_with(session: AnalysisSession, target: int | None) -> dict[str, Any]:
    """The report of the newest comparison with a model, as a change of models records it."""
    for one in comparisons_of(session):
        if one.done and one.target == target:
            return {
                "comparison": str(one.job.uid),
                "before": one.before,
                "after": one.after,
                "compared": one.answered,
                "facets": one.facets,
            }
    return {}
