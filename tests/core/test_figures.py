"""Numbers, money and times are worded as the design guide says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.template import Context, Template

from core import figures

NOW = datetime(2026, 6, 15, 14, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0%"),
        (0.0001, "under 0.1%"),
        (0.021, "2.1%"),
        (0.0996, "10%"),
        (0.62, "62%"),
        (1, "100%"),
    ],
)
def test_share(value, text) -> None:
    assert figures.share(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "unpriced"),
        (0, "$0.00"),
        (Decimal("0.004"), "under $0.01"),
        (3.824, "$3.82"),
        (1234.5, "$1,234"),
    ],
)
def test_money(value, text) -> None:
    assert figures.money(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (1.23, "1.2 s"),
        (41, "41 s"),
        (24 * 60, "24 minutes"),
        (timedelta(hours=2, minutes=5), "2 hours 5 minutes"),
        (timedelta(hours=30), "30 hours"),
    ],
)
def test_duration(value, text) -> None:
    assert figures.duration(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (340, "340 B"), (1_420_000, "1.4 MB"), (212e6, "212 MB"), (999_600, "1.0 MB")],
)
def test_size(value, text) -> None:
    assert figures.size(value) == text


@pytest.mark.parametrize(
    ("ago", "text"),
    [
        (timedelta(0), "14:07"),
        (timedelta(hours=20), "Yesterday 18:07"),
        (timedelta(days=12), "3 June 2026"),
    ],
)
def test_when(ago, text) -> None:
    assert figures.when(NOW - ago, NOW) == text


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        (NOW, NOW, "15 June 2026"),
        (NOW, NOW + timedelta(days=10), "15 to 25 June 2026"),
        (NOW, NOW + timedelta(days=30), "15 June to 15 July 2026"),
        (NOW, NOW + timedelta(days=365), "15 June 2026 to 15 June 2027"),
        (None, NOW, "No times given"),
    ],
)
def test_period(first, last, text) -> None:
    assert figures.period(first, last) == text


def render(source: str, **values: object) -> str:
    return Template("{% load ui figures %}" + source).render(Context(values))


def test_pill_has_shape_and_word() -> None:
    assert render('{% pill "running" %}') == (
        '<span class="pill run"><span class="dot"></span>Running</span>'
    )
    assert "#alert-circle" in render('{% pill "failed" %}')


def test_pill_escapes_its_word() -> None:
    assert "<b>" not in render('{% pill "ready" text %}', text="<b>")


def test_icon_is_silent_unless_labelled() -> None:
    assert 'aria-hidden="true"' in render('{% icon "home" %}')
    assert 'aria-label="Home"' in render('{% icon "home" label="Home" %}')


def test_every_icon_of_the_templates_is_in_the_sprite(settings) -> None:
    import re

    sprite = (settings.BASE_DIR / "static/icons/sprite.svg").read_text()
    drawn = set(re.findall(r'<symbol id="([^"]+)"', sprite))
    used = set()
    for page in (settings.BASE_DIR / "templates").rglob("*.html"):
        used |= set(re.findall(r'{% icon "([^"]+)"', page.read_text()))
    assert len(used) > 10
    assert used <= drawn


def test_counted_and_language() -> None:
    assert render('{{ 1|counted:"data set" }}') == "1 data set"
    assert render('{{ 1200|counted:"analysis,analyses" }}') == "1,200 analyses"
    assert render('{{ "pt-br"|language }} {{ "de-AT"|language }} {{ "zz"|language }}') == (
        "Brazilian Portuguese German zz"
    )
