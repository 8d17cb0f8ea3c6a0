"""The chart of spending by day, laid out for an SVG."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

from core.figures import money
from providers.selectors.spend import SpendDays, Spent

WIDTH, TOP, BASE = 640.0, 23.0, 168.0
LEFT, FIRST = 30.0, 34.0
GAP = 1.0
COLOURS = 9
"""Colours of the palette; providers beyond them share the last, neutral one."""

LABELLED = (1, 5, 10, 15, 20, 25, 30)
MOST_LINES = 4


@dataclass(frozen=True, slots=True)
class Block:
    """One provider's part of a day's bar."""

    y: float
    height: float
    colour: int


@dataclass(frozen=True, slots=True)
class Bar:
    """A day: its bar and, for who points at it, its amounts in words."""

    x: float
    width: float
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A line or a label at a place of an axis."""

    at: float
    text: str

    @property
    def label_at(self) -> float:
        """Where the label of a level line stands: its letters are centred on the line."""
        return round(self.at + 4, 1)

    @property
    def above(self) -> float:
        """Where a label stands that is written on the line."""
        return round(self.at - 5, 1)


@dataclass(frozen=True, slots=True)
class Key:
    """A provider and its colour."""

    name: str
    colour: int


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything the picture shows; lengths are units of its view box."""

    summary: str
    bars: tuple[Bar, ...]
    lines: tuple[Mark, ...]
    days: tuple[Mark, ...]
    keys: tuple[Key, ...]
    pace: Mark | None


def chart_of(spend: SpendDays, limit: Decimal | None) -> Chart:
    """The chart of a month. ``limit``: US dollars a month, drawn as an even pace."""
    totals = {day: float(spend.on(day).cost) for day in range(1, spend.days + 1)}
    pace = float(limit) / spend.days if limit else None
    step = step_of(max(*totals.values(), (pace or 0.0) * 1.02))
    top = step * max(1, math.ceil(max(*totals.values(), pace or 0.0) / step - 1e-9))
    scale = (BASE - TOP) / top
    pitch = (WIDTH - FIRST) / spend.days
    colours = {name: min(place, COLOURS) + 1 for place, name in enumerate(spend.names)}
    bars = [
        _bar(spend, day, FIRST + (day - 1) * pitch, pitch * 0.8, scale, colours)
        for day in range(1, spend.days + 1)
        if totals[day]
    ]
    shown = [name for name in spend.names if spend.totals[name].cost]
    return Chart(
        summary=_summary(spend, totals),
        bars=tuple(bars),
        lines=tuple(
            Mark(round(BASE - value * step * scale, 1), _axis(value * step, step))
            for value in range(round(top / step) + 1)
        ),
        days=tuple(
            Mark(round(FIRST + (day - 0.6) * pitch, 1), str(day))
            for day in LABELLED
            if day <= spend.days
        ),
        keys=tuple(Key(name, colours[name]) for name in shown),
        pace=Mark(round(BASE - pace * scale, 1), f"Even pace for {_plain(limit)}")
        if pace and limit
        else None,
    )


def step_of(largest: float) -> float:
    """The distance of grid lines: 1, 2 or 5 times a power of ten, at most :data:`MOST_LINES`."""
    if largest <= 0:
        return 1.0
    raw = largest / MOST_LINES
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)


def _bar(
    spend: SpendDays, day: int, x: float, width: float, scale: float, colours: dict[str, int]
) -> Bar:
    blocks = []
    base = BASE
    said = []
    for name in spend.names:
        spent = spend.cells.get((day, name), Spent())
        if not spent.cost:
            continue
        height = float(spent.cost) * scale
        blocks.append(
            Block(round(base - height, 1), round(max(0.5, height - GAP), 1), colours[name])
        )
        said.append(f"{name} {money(spent.cost)}")
        base -= height
    title = f"{day} {spend.start:%B}: {', '.join(said)}"
    if len(said) > 1:
        title += f", together {money(spend.on(day).cost)}"
    return Bar(round(x, 1), round(width, 1), title, tuple(blocks))


def _summary(spend: SpendDays, totals: dict[int, float]) -> str:
    highest = max(totals, key=lambda day: totals[day])
    month = f"Spend by day in {spend.start:%B}, stacked by provider."
    if not totals[highest]:
        return f"{month} Nothing with a known price so far."
    return f"{month} Highest was {highest} {spend.start:%B} at {money(totals[highest])}."


def _axis(value: float, step: float) -> str:
    if step >= 1:
        return f"${value:,.0f}"
    return f"${value:.{max(2, -math.floor(math.log10(step)))}f}" if value else "$0"


def _plain(amount: Decimal) -> str:
    return f"${amount:,.0f}" if amount == amount.to_integral() else money(amount)
