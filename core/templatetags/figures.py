"""The wording of :mod:`core.figures` as template filters."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import template
from django.conf.locale import LANG_INFO
from django.utils import timezone

from core import figures

register = template.Library()

register.filter("thousands", figures.thousands)
register.filter("share", figures.share)
register.filter("money", figures.money)
register.filter("duration", figures.duration)
register.filter("size", figures.size)


@register.filter
def when(value: datetime | None) -> str:
    """A moment in the server's time zone, as exact as it is recent."""
    if value is None:
        return figures.NOTHING
    return figures.when(timezone.localtime(value), timezone.localtime())


@register.filter
def period_to(first: datetime | None, last: datetime | None) -> str:
    """``first|period_to:last``: the days between."""
    return figures.period(first, last)


@register.filter
def counted(number: int, word: str) -> str:
    """``3|counted:"analysis,analyses"``: "3 analyses"; without a comma the plural takes an s."""
    singular, _, plural = word.partition(",")
    return figures.count_of(number or 0, singular, plural)


@register.filter
def percent_of(part: Any, whole: Any) -> float:
    """How many percent of ``whole`` the ``part`` is, 0-100, for the width of a bar."""
    return min(100.0, 100 * float(part or 0) / float(whole)) if whole else 0.0


@register.filter
def share_of(part: Any, whole: Any) -> str:
    """``part|share_of:whole``: the share in words."""
    return figures.share(float(part or 0) / float(whole) if whole else None)


@register.filter
def language(code: str) -> str:
    """A language code in English words ("es" is "Spanish"); unknown codes stay as they are."""
    names = LANG_INFO.get(code) or LANG_INFO.get(code.partition("-")[0]) or {}
    return str(names.get("name", code)) or "Unknown"
