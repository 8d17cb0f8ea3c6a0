"""What an analysis is expected to cost and how long to take, by stage: figures and their words.

A price that is unknown is ``None``, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, Decimal
from typing import Any, NamedTuple, Self

from analyses.models import AnalysisSession
from analyses.pipeline.forecast import Range
from core import figures
from providers.models.batches import EXPECTED
from providers.services.bulk import PRICE_FACTOR

LABELS = {
    "facets": "Read and extract",
    "embeddings": "Embed",
    "names": "Name",
    "hierarchy": "Arrange",
    "privacy": "Privacy",
}


class Cost(NamedTuple):
    """US dollars: low end, likely, high end."""

    low: Decimal
    likely: Decimal
    high: Decimal

    @property
    def text(self) -> str:
        """The range in words."""
        if not self.high:
            return "costs nothing"
        low, high = figures.money(self.low), figures.money(self.high)
        if low == high:
            return high if high.startswith("under") else f"about {high}"
        return f"{low} to {high}"


def between(low: str, high: str) -> str:
    """Two ends in words, once when they read alike."""
    return low if low == high else f"{low} to {high}"


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """One stage's calls; ``cost`` is ``None`` when its model is unpriced."""

    key: str
    calls: Range
    tokens_in: Range
    tokens_out: Range
    cost: Cost | None

    @property
    def label(self) -> str:
        """The stage in words."""
        return LABELS[self.key]

    @property
    def calls_text(self) -> str:
        """Calls in words."""
        return _counts(self.calls)

    @property
    def sent_text(self) -> str:
        """Tokens sent, in words."""
        return _counts(self.tokens_in)

    @property
    def answered_text(self) -> str:
        """Tokens answered, in words."""
        return _counts(self.tokens_out)

    @property
    def cost_text(self) -> str:
        """The cost in words."""
        return self.cost.text if self.cost is not None else "unpriced"


@dataclass(frozen=True, slots=True)
class Estimate:
    """Cost in US dollars and time in seconds of an analysis of ``conversations``.

    ``sampled`` conversations were rendered for it; none for the local engine, which asks nobody.
    ``after`` are the seconds that follow reading. ``scale`` is the model's own count of tokens over ours, learned from its history.
    """

    conversations: int
    sampled: int
    stages: tuple[StageEstimate, ...]
    seconds: Range
    after: Range = field(default_factory=Range)
    scale: float = 1.0
    notes: tuple[str, ...] = field(default=())
    batched: bool = False

    def in_batches(self) -> Estimate:
        """The same with the conversations read in the provider's batches."""
        factor = Decimal(str(PRICE_FACTOR))
        stages = tuple(
            replace(stage, cost=Cost(*(end * factor for end in stage.cost)))
            if stage.key == "facets" and stage.cost is not None
            else stage
            for stage in self.stages
        )
        day = EXPECTED.total_seconds()
        seconds = self.seconds + Range(0, day / 24, day)
        notes = (*self.notes, "Reading costs half of it in the provider's batches.")
        return replace(self, stages=stages, seconds=seconds, notes=notes, batched=True)

    @property
    def tokens_in(self) -> Range:
        """Tokens sent, in all."""
        return sum((stage.tokens_in for stage in self.stages), Range())

    @property
    def tokens_out(self) -> Range:
        """Tokens answered, in all."""
        return sum((stage.tokens_out for stage in self.stages), Range())

    @property
    def calls(self) -> Range:
        """Model calls, in all."""
        return sum((stage.calls for stage in self.stages), Range())

    @property
    def spend(self) -> Cost | None:
        """Cost of all stages; ``None`` when one of them is unpriced."""
        known = [stage.cost for stage in self.stages if stage.cost is not None]
        if len(known) < len(self.stages):
            return None
        return Cost(*(sum((cost[end] for cost in known), Decimal(0)) for end in range(3)))

    @property
    def cost(self) -> str:
        """The cost in words."""
        return self.spend.text if self.spend is not None else "unpriced"

    @property
    def time(self) -> str:
        """The time in words."""
        if self.batched:
            return "within 24 hours"
        low, high = (max(10, value) for value in (self.seconds.low, self.seconds.high))
        return between(figures.duration(low), figures.duration(high))

    @property
    def suggested_limit(self) -> Decimal | None:
        """A spending limit it should not reach: the high end, rounded up to a round sum."""
        if self.spend is None or not self.spend.high:
            return None
        return round_up(self.spend.high)

    def to_json(self) -> dict[str, Any]:
        """As stored on the analysis. Money is text, so that no cent is lost."""
        return {
            "conversations": self.conversations,
            "sampled": self.sampled,
            "seconds": _listed(self.seconds, 1),
            "after": _listed(self.after, 1),
            "scale": round(self.scale, 4),
            "notes": list(self.notes),
            "batched": self.batched,
            "cost": _money_json(self.spend),
            "stages": [
                {
                    "key": stage.key,
                    "calls": _listed(stage.calls),
                    "tokens_in": _listed(stage.tokens_in),
                    "tokens_out": _listed(stage.tokens_out),
                    "cost": _money_json(stage.cost),
                }
                for stage in self.stages
            ],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self | None:
        """What :meth:`to_json` wrote; ``None`` for an analysis that was started without one."""
        try:
            stages = tuple(
                StageEstimate(
                    row["key"],
                    Range(*row["calls"]),
                    Range(*row["tokens_in"]),
                    Range(*row["tokens_out"]),
                    Cost(*map(Decimal, row["cost"])) if row["cost"] else None,
                )
                for row in data["stages"]
                if row["key"] in LABELS
            )
            seconds, after = Range(*data["seconds"]), Range(*data.get("after", ()))
        except (KeyError, TypeError, ValueError, ArithmeticError):
            return None
        return cls(
            conversations=int(data.get("conversations", 0)),
            sampled=int(data.get("sampled", 0)),
            stages=stages,
            seconds=seconds,
            after=after,
            scale=float(data.get("scale", 1.0)),
            notes=tuple(data.get("notes", ())),
            batched=data.get("batched") is True,
        )


def round_up(amount: Decimal) -> Decimal:
    """The next sum of one or two round digits: 0.037 to 0.04, 3.12 to 3.50, 41.30 to 45."""
    step = Decimal(10) ** (amount.adjusted() - 1) * 5
    least = max(step, Decimal("0.01"))
    steps = (amount / least).to_integral_value(ROUND_CEILING)
    return (steps * least).quantize(Decimal("0.01"))


def _listed(value: Range, digits: int = 0) -> list[float]:
    return [round(part, digits) if digits else round(part) for part in ends(value)]


def ends(value: Range) -> tuple[float, float, float]:
    """Low end, likely value, high end."""
    return value.low, value.likely, value.high


def _money_json(cost: Cost | None) -> list[str] | None:
    return None if cost is None else [f"{part:.8f}" for part in cost]


def _counts(value: Range) -> str:
    low, high = (float(f"{end:.3g}") for end in (value.low, value.high))
    return between(figures.thousands(low), figures.thousands(high))


def stored(session: AnalysisSession) -> Estimate | None:
    """What was expected of an analysis before it began."""
    return Estimate.from_json(session.estimate)
