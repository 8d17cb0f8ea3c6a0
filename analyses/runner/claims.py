"""What a worker may claim, in which order, and how much of an analysis is its share."""

from __future__ import annotations

import logging
from typing import Any

from django.db.models import Case, IntegerField, Value, When

from analyses.models import AnalysisSession, Batch
from analyses.plan import PREVIEW, RunParams
from analyses.runner.ranges import open_range
from analyses.services.advance import give_up
from analyses.services.sessions import claimable
from core import work
from core.crashpoints import reach
from core.heartbeat import Heartbeat
from core.models import WorkStatus

log = logging.getLogger("openclio.worker")

STOCK = 4
"""Prepared batches that may wait before reading workers stop preparing more."""

HEAVY_ORDER = Case(
    When(stage=PREVIEW, then=Value(0)),
    When(stage="prepare", then=Value(2)),
    default=Value(1),
    output_field=IntegerField(),
)
"""The picture people wait for first, preparing last."""


def session_of(batch: Batch) -> AnalysisSession:
    """The analysis of a batch with all that its stages need. One query."""
    return AnalysisSession.objects.select_related(
        "project", "template_version", "chat__provider", "embedding__provider"
    ).get(pk=batch.session_id)


def share_of(session_id: int, params: dict[str, Any]) -> int:
    """One reading process's part of an analysis's calls at once: all get the same."""
    leased = Batch.objects.filter(session=session_id, stage="facets", status=WorkStatus.LEASED)
    readers = leased.values("owner").distinct().count()
    return max(1, -(-RunParams.model_validate(params).concurrency // max(1, readers)))


class Claims:
    """Takes batches for one worker; every method runs in one of its database threads.

    ``lost`` holds the primary keys of batches whose lease is gone; ``only`` is the one analysis
    the worker serves, ``None`` for all.
    """

    def __init__(
        self,
        owner: str,
        heart: Heartbeat,
        *,
        session_id: int | None,
        skip: frozenset[str],
    ) -> None:
        self.lost: set[int] = set()
        self._owner = owner
        self._heart = heart
        self.only = session_id
        self._skip = skip

    def take_range(self, full: list[int]) -> tuple[AnalysisSession, Batch, Any, int] | None:
        """A prepared range with its conversations and this worker's share of calls."""
        waiting = self._waiting().filter(stage="facets").exclude(session__in=full)
        batch = self._take(waiting.order_by("seq", "id"))
        if batch is None:
            return None
        session = session_of(batch)
        try:
            items = open_range(session, batch)
        except (ValueError, TypeError, LookupError) as error:
            log.exception("Batch %s could not be opened.", batch)
            self._heart.drop(batch)
            give_up(batch, f"The conversations could not be opened: {type(error).__name__}.")
            return None
        return session, batch, items, share_of(session.pk, session.params)

    def take_heavy(self, reading: bool) -> tuple[AnalysisSession, Batch] | None:
        """A batch of anything but reading."""
        left = {"facets", *self._skip}
        if reading and self._stocked():
            left.add("prepare")
        waiting = self._waiting().exclude(stage__in=left)
        batch = self._take(waiting.order_by(HEAVY_ORDER, "seq", "id"))
        return None if batch is None else (session_of(batch), batch)

    def _stocked(self) -> bool:
        """Whether enough prepared text waits; then reading workers let others prepare."""
        stock: int = self._waiting().filter(stage="facets").count()
        return stock >= STOCK

    def _waiting(self) -> Any:
        waiting = claimable()
        return waiting.filter(session=self.only) if self.only else waiting

    def _take(self, candidates: Any) -> Batch | None:
        # A plain look first: claiming takes the write lock.
        if not candidates.exists():
            return None
        batch: Batch | None = work.claim(candidates, owner=self._owner)
        if batch is not None:
            self.lost.discard(batch.pk)
            self._heart.hold(batch)
            reach("after_claim")
        return batch
