"""What the JSON door of stored answers takes and gives."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from ninja import Field, Schema


class ServedOut(Schema):
    """Answers used again in a purpose; ``near`` of them answered nearly the same question.

    ``rate`` is the share of questions that needed no call, ``saved`` US dollars.
    """

    name: str
    hits: int
    near: int
    calls: int
    tokens: int
    saved: Decimal
    rate: float


class StockOut(Schema):
    """Stored answers of one model, prompt version and purpose."""

    model: str
    prompt_version: str
    purpose: str
    count: int
    oldest: datetime | None
    newest: datetime | None


class WatchingOut(Schema):
    """How the semantic cache of a route does; it answers once it is ``proven``."""

    purpose: str
    mode: str
    compared: int
    agreed: int
    needed: int
    proven: bool


class AnswersOut(Schema):
    """What stored answers saved in ``days``, and what is stored."""

    days: int
    total: ServedOut
    served: list[ServedOut]
    stock: list[StockOut]
    watching: list[WatchingOut]


class ForgetIn(Schema):
    """Which answers to forget: those that match everything given. At least one is needed.

    An empty text is a value of its own: ``""`` are the answers without a prompt version.
    """

    project: str | None = Field(default=None, description="A project's slug.")
    model: str | None = Field(default=None, max_length=200)
    prompt_version: str | None = Field(default=None, max_length=200)
    purpose: str | None = Field(default=None, max_length=20)


class Forgotten(Schema):
    """How many answers were forgotten."""

    forgotten: int
