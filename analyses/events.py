"""Events of an analysis. Their topic is ``analysis:<id>``."""

from __future__ import annotations

from typing import ClassVar

from core.events import LiveEvent


class StatusChanged(LiveEvent):
    """The analysis is in another state."""

    kind: ClassVar[str] = "status"
    status: str
    reason: str = ""
    text: str = ""


class ProgressMade(LiveEvent):
    """Counters moved."""

    kind: ClassVar[str] = "progress"
    stage: str
    done: int
    total: int


class StageEnded(LiveEvent):
    """A stage is complete."""

    kind: ClassVar[str] = "stage"
    stage: str
    seconds: float


class BatchSaved(LiveEvent):
    """A batch of reading was saved, taken back or set aside."""

    kind: ClassVar[str] = "batches"
    seq: int
    state: str
    failed: int = 0
    text: str = ""


class BatchAway(LiveEvent):
    """Conversations were handed to a provider in a batch, or such a batch is over."""

    kind: ClassVar[str] = "away"
    over: bool = False
    text: str = ""


class PictureChanged(LiveEvent):
    """New clusters and places on the map."""

    kind: ClassVar[str] = "clusters"
    conversations: int
    clusters: int
    provisional: bool


class MapChanged(LiveEvent):
    """The map has new places."""

    kind: ClassVar[str] = "map"
    points: int
    provisional: bool


class InsightsFound(LiveEvent):
    """Insights are ready."""

    kind: ClassVar[str] = "insights"
    count: int


class BudgetNear(LiveEvent):
    """A limit of spending or use is nearly reached; given once per period.

    ``scope`` is ``analysis:<id>``, ``project:<id>``, ``workspace:<id>``, ``user:<id>`` or
    ``key:<id>``; ``text`` says how much of how much was spent or used.
    """

    kind: ClassVar[str] = "budget"
    scope: str
    period: str
    text: str
    share: float


class Recovered(LiveEvent):
    """Work of a worker that stopped was taken back."""

    kind: ClassVar[str] = "recovery"
    kept_batches: int
    kept_conversations: int
    repeated_batches: int
    repeated_conversations: int
    doubt_calls: int
    doubt_cost: str
    text: str
