"""Small helpers of the analysis pages."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import template
from django.http import QueryDict
from django.utils import timezone

from analyses.models import AnalysisSession, Insight
from analyses.selectors.news import INSIGHT_SIGNS
from core import figures

register = template.Library()

READERS = "Local engine"


@register.filter
def reader_name(session: AnalysisSession) -> str:
    """Who reads: the provider and model, or the local engine, said honestly."""
    return str(session.chat) if session.chat_id else READERS


@register.filter
def moment(value: datetime) -> str:
    """When something was saved: to the second today, else as any moment."""
    local, now = timezone.localtime(value), timezone.localtime()
    return f"{local:%H:%M:%S}" if local.date() == now.date() else figures.when(local, now)


@register.filter
def insight_icon(insight: Insight) -> str:
    """The icon of an insight's kind."""
    return INSIGHT_SIGNS.get(insight.kind, ("bulb", ""))[0]


@register.filter
def insight_tone(insight: Insight) -> str:
    """The ground behind an insight's icon."""
    return INSIGHT_SIGNS.get(insight.kind, ("bulb", ""))[1]


@register.filter
def stopped(title: str) -> str:
    """A title that a sentence follows, with a full stop unless it ends with a mark of its own."""
    return title if title.endswith((".", "?", "!", "…", ":")) else f"{title}."


@register.simple_tag(takes_context=True)
def keep(context: dict[str, Any], *names: str) -> list[tuple[str, Any]]:
    """The address's parameters except ``names``, for the hidden fields of a form."""
    params: QueryDict = context["request"].GET
    return [(key, params.get(key, "")) for key in params if key not in names]


@register.simple_tag(takes_context=True)
def with_facet(context: dict[str, Any], param: str, value: str = "") -> str:
    """The page's address with one facet filter set or, without a value, removed."""
    params: QueryDict = context["request"].GET.copy()
    for name in (param, "i", "after"):
        params.pop(name, None)
    if value:
        params[param] = value
    return f"?{params.urlencode()}"


@register.simple_tag(takes_context=True)
def to_cluster(context: dict[str, Any], key: int, base: str = "") -> str:
    """Explore at a cluster. On Explore itself the filters stay; elsewhere ``base`` leads there."""
    if base or "request" not in context:
        return f"{base}?c={key}"
    params: QueryDict = context["request"].GET.copy()
    for name in ("i", "after", "view"):
        params.pop(name, None)
    params["c"] = str(key)
    return f"?{params.urlencode()}"


@register.simple_tag(takes_context=True)
def to_item(context: dict[str, Any], position: int) -> str:
    """Explore with a conversation open, everything else as it is."""
    params: QueryDict = context["request"].GET.copy()
    params["i"] = str(position)
    params["view"] = "read"
    return f"?{params.urlencode()}"


@register.simple_tag(takes_context=True)
def without(context: dict[str, Any], *names: str) -> str:
    """The page's address without some parameters; ``f`` stands for every facet."""
    params: QueryDict = context["request"].GET.copy()
    for key in list(params):
        if key in names or ("f" in names and key.startswith("f.")):
            del params[key]
    return f"?{params.urlencode()}"
