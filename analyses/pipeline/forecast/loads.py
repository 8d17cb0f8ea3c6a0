"""Quantities that are not known exactly, and the calls of one stage."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from analyses.pipeline.base import ChatRequest
from analyses.pipeline.tokens import count_tokens

MESSAGE_TOKENS = 4
"""Tokens around each message: its role and two borders."""
REPLY_TOKENS = 3
"""Tokens that open the answer (both from OpenAI's cookbook, "How to count tokens")."""

RETRIES = 0.03
"""Share of calls asked twice, added at the high end: faults, repairs, calls cut off."""

UNSEEN_ANSWER = 0.35
"""How far answers of a model nobody has watched may be shorter or longer than the stand-ins."""
SEEN_ANSWER = 0.05
"""The same once a model's own answers are known, on top of their sampling error."""
UNSEEN_SHAPE = 0.2
"""How far the later stages' prompts may differ: sizes of clusters and names are not known yet."""

NAME = "Change the date of a booked flight"
DESCRIPTION = (
    "People wanted to move a flight they had booked to another day and asked what it would cost. "
    "Unlike those who cancelled, they still meant to travel and needed a new ticket number."
)
_NAME_FRAME = 22
"""Tokens of an answer with name and description that are not the description."""


@dataclass(frozen=True, slots=True)
class Range:
    """A quantity that is not known exactly: its low end, the likely value, its high end."""

    low: float = 0.0
    likely: float = 0.0
    high: float = 0.0

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.likely + other.likely, self.high + other.high)

    def times(self, factor: float) -> Range:
        """All three, multiplied."""
        return Range(self.low * factor, self.likely * factor, self.high * factor)

    def widened(self, below: float, above: float) -> Range:
        """The ends moved apart by shares of themselves."""
        return Range(self.low * (1 - below), self.likely, self.high * (1 + above))


def exactly(value: float) -> Range:
    """A quantity that is known."""
    return Range(value, value, value)


@dataclass(frozen=True, slots=True)
class Observed:
    """What a model's earlier answers to one kind of question were: how many, and how long."""

    calls: int
    mean: float
    deviation: float = 0.0


@dataclass(frozen=True, slots=True)
class Load:
    """The calls of one stage. ``rounds`` of them wait for each other; ``tokens`` are totals."""

    key: str
    calls: Range
    tokens_in: Range
    tokens_out: Range
    rounds: int = 1


@dataclass(frozen=True, slots=True)
class Material:
    """Texts to render the later stages' prompts with, and what is known of a model's answers."""

    statements: Sequence[str]
    observed: Mapping[str, Observed] = field(default_factory=dict)

    @property
    def description(self) -> str:
        """A description as long as the model's usual ones."""
        seen = self.observed.get("names")
        if seen is None:
            return DESCRIPTION
        words = DESCRIPTION.split()
        count = max(1, round(seen.mean - _NAME_FRAME))
        return " ".join(words[i % len(words)] for i in range(count))


def request_tokens(request: ChatRequest) -> int:
    """Tokens of a request as a provider counts them: messages, their borders and the schema."""
    said = sum(count_tokens(message.content) + MESSAGE_TOKENS for message in request.messages)
    return said + REPLY_TOKENS + count_tokens(json.dumps(request.schema))


def answer_tokens(answer: Mapping[str, Any]) -> int:
    """Tokens of an answer."""
    return count_tokens(json.dumps(answer, ensure_ascii=False))


def student(freedom: int) -> float:
    """Two-sided 95 % point of Student's t, to a hundredth from ten degrees of freedom on."""
    return 1.96 + 2.5 / max(freedom, 1) + 8 / max(freedom, 1) ** 3


def as_seen(seen: Observed, calls: Range) -> Range:
    """Tokens of so many answers, each as long as those seen before."""
    error = student(max(1, seen.calls - 1)) * seen.deviation / math.sqrt(max(seen.calls, 1))
    each = Range(max(0.0, seen.mean - error), seen.mean, seen.mean + error)
    whole = Range(each.low * calls.low, each.likely * calls.likely, each.high * calls.high)
    return whole.widened(SEEN_ANSWER, SEEN_ANSWER)


def answers(key: str, calls: float, stand_in: float, material: Material) -> Range:
    """Tokens of ``calls`` answers: as seen before, or ``stand_in`` in all."""
    seen = material.observed.get(key)
    if seen is not None:
        return as_seen(seen, exactly(calls)).widened(0, RETRIES)
    return exactly(stand_in).widened(UNSEEN_ANSWER, UNSEEN_ANSWER + RETRIES)


def shaped(key: str, calls: float, asked: float, answered: Range, rounds: int = 1) -> Load:
    return Load(
        key,
        Range(calls, calls, calls * (1 + UNSEEN_SHAPE)),
        exactly(asked).widened(UNSEEN_SHAPE, UNSEEN_SHAPE + RETRIES),
        answered,
        rounds,
    )
