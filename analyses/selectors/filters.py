"""Filters of Explore: what can be chosen, what is chosen, and the rows that remain."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from django.conf.locale import LANG_INFO
from django.db.models import Count, Q, QuerySet

from analyses.models import AnalysisItem, AnalysisSession, FacetValue, Outcome
from templates_app.models import FacetDefinition, FacetKind

PREFIX = "f."
MAX_CHOICES = 12
MAX_QUERY = 200
MAX_CORNERS = 64
FILTERABLE = (FacetKind.CATEGORY, FacetKind.BOOLEAN, FacetKind.SCORE)
LANGUAGE = "language"

Polygon = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Choice:
    """One value to filter by, as addresses carry it and as people read it."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class Facet:
    """A question that conversations can be filtered by."""

    key: str
    label: str
    kind: str
    choices: tuple[Choice, ...]
    chosen: Choice | None = None
    facet_id: int | None = None

    @property
    def param(self) -> str:
        """Its name in the address."""
        return PREFIX + self.key


@dataclass(frozen=True, slots=True)
class Filters:
    """Everything that narrows the list. ``lasso`` is a polygon in map units of [-1, 1]."""

    facets: tuple[Facet, ...] = ()
    q: str = ""
    lasso: Polygon | None = field(default=None, compare=False)

    @property
    def chosen(self) -> list[Facet]:
        """The facets with a value."""
        return [facet for facet in self.facets if facet.chosen]

    @property
    def active(self) -> int:
        """How many filters are on."""
        return len(self.chosen) + bool(self.q) + (self.lasso is not None)

    @property
    def on_rows(self) -> bool:
        """Whether the database has to look at every conversation."""
        return bool(self.chosen or self.q)


def filters_of(session: AnalysisSession, params: Mapping[str, str]) -> Filters:
    """The filters an address asks for; values that make no sense are left out.

    Two queries, and one more per free category.
    """
    facets = [_language(session, params.get(PREFIX + LANGUAGE, ""))]
    for row in session.template_version.facets.filter(kind__in=FILTERABLE):
        if row.key != LANGUAGE:
            facets.append(_facet(session, row, params.get(PREFIX + row.key, "")))
    return Filters(
        facets=tuple(facets),
        q=params.get("q", "").strip()[:MAX_QUERY],
        lasso=polygon_of(params.get("lasso", "")),
    )


def _language(session: AnalysisSession, chosen: str) -> Facet:
    rows = (
        session.items.filter(outcome=Outcome.READ)
        .exclude(language="")
        .order_by()
        .values_list("language")
        .annotate(count=Count("id"))
        .order_by("-count", "language")[:MAX_CHOICES]
    )
    choices = tuple(Choice(code, language_name(code)) for code, _ in rows)
    return Facet(LANGUAGE, "Language", "language", choices, _pick(choices, chosen))


def _facet(session: AnalysisSession, row: FacetDefinition, chosen: str) -> Facet:
    choices = _choices(session, row)
    return Facet(row.key, row.label, row.kind, choices, _pick(choices, chosen), row.pk)


def _choices(session: AnalysisSession, row: FacetDefinition) -> tuple[Choice, ...]:
    if row.kind == FacetKind.BOOLEAN:
        return Choice("yes", "Yes"), Choice("no", "No")
    if row.kind == FacetKind.SCORE:
        steps = range(row.low + 1, row.high + 1)
        return tuple(Choice(str(step), f"{step} or more") for step in reversed(steps))
    values = [str(value) for value in row.choices] or _observed(session, row)
    return tuple(Choice(value, sentence(value)) for value in values)


def _observed(session: AnalysisSession, row: FacetDefinition) -> list[str]:
    """The commonest answers to a free category."""
    values = FacetValue.objects.filter(facet=row, item__session=session).exclude(text=None)
    counted = values.values_list("text").annotate(count=Count("id")).order_by("-count")
    return [str(text) for text, _ in counted[:MAX_CHOICES]]


def _pick(choices: Iterable[Choice], value: str) -> Choice | None:
    return next((choice for choice in choices if choice.value == value), None)


def narrow(rows: QuerySet[AnalysisItem], filters: Filters) -> QuerySet[AnalysisItem]:
    """The rows that satisfy every chosen facet and hold the words sought."""
    for facet in filters.chosen:
        rows = rows.filter(_condition(facet))
    if filters.q:
        rows = rows.filter(Q(title__icontains=filters.q) | Q(summary__icontains=filters.q))
    return rows


def _condition(facet: Facet) -> Q:
    value = facet.chosen.value if facet.chosen else ""
    if facet.key == LANGUAGE:
        return Q(language=value)
    if facet.kind == FacetKind.BOOLEAN:
        return Q(values__facet_id=facet.facet_id, values__flag=value == "yes")
    if facet.kind == FacetKind.SCORE:
        return Q(values__facet_id=facet.facet_id, values__number__gte=float(value))
    return Q(values__facet_id=facet.facet_id, values__text=value)


def polygon_of(text: str) -> Polygon | None:
    """``"x.y_x.y_…"`` with whole thousandths 0-3000 of [-1.5, 1.5] as map units; ``None`` if bad.

    Whole numbers keep the address short and free of characters that need escaping.
    """
    corners = []
    with contextlib.suppress(ValueError):
        for corner in text.split("_")[: MAX_CORNERS + 1]:
            x, _, y = corner.partition(".")
            corners.append((int(x[:5]) / 1000 - 1.5, int(y[:5]) / 1000 - 1.5))
    return np.array(corners) if 3 <= len(corners) <= MAX_CORNERS else None


def sentence(value: str) -> str:
    """An answer such as ``very_positive`` as people write it."""
    words = value.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def language_name(code: str) -> str:
    """The English name of a language code; unknown codes stay as they are."""
    names = LANG_INFO.get(code) or LANG_INFO.get(code.partition("-")[0]) or {}
    return str(names.get("name", code)) or "Unknown"
