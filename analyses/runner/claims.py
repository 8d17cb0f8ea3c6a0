"""What a worker may claim, in which order, and how much of an analysis is its share."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django.db import Error, transaction
from django.db.models import Case, IntegerField, Value, When

from analyses.models import AnalysisSession, Batch, Desired, SessionStatus
from analyses.plan import PREVIEW, RunParams
from analyses.runner.ranges import open_range
from analyses.services.advance import give_up, given_back, locked
from analyses.services.quarantine import SUSPECT
from analyses.services.sessions import claimable
from core import work
from core.crashpoints import reach
from core.heartbeat import Heartbeat
from core.models import WorkStatus

log = logging.getLogger("openclio.worker")

GOING = frozenset({SessionStatus.QUEUED, SessionStatus.RUNNING})

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
        "project", "template_version", "chat__provider", "embedding__provider", "fallback__provider"
    ).get(pk=batch.session_id)


def is_suspect(batch: Batch) -> bool:
    """Whether a claimed batch stopped two workers before: it is worked on alone."""
    return batch.attempt > SUSPECT


def share_of(session_id: int, params: dict[str, Any]) -> int:
    """One reading process's part of an analysis's calls at once: all get the same."""
    leased = Batch.objects.filter(session=session_id, stage="facets", status=WorkStatus.LEASED)
    readers = leased.values("owner").distinct().count()
    return max(1, -(-RunParams.model_validate(params).concurrency // max(1, readers)))


Models = tuple[int | None, int | None, int | None, str]


def models_of(session: AnalysisSession) -> Models:
    """Which models an analysis asks: for chat, for vectors, when the first does not answer, and
    by which frozen routes."""
    routes = json.dumps(session.params.get("routes", {}), sort_keys=True)
    return session.chat_id, session.embedding_id, session.fallback_id, routes


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an analysis stands for a worker. ``share``: calls at once in this process."""

    goes: bool
    cancelled: bool
    models: Models
    share: int


def standings(held: Iterable[int]) -> dict[int, Standing]:
    """How the analyses stand that a worker has to do with."""
    found = {}
    for row in AnalysisSession.objects.filter(pk__in=held):
        goes = row.desired == Desired.RUN and row.status in GOING
        share = share_of(row.pk, row.params) if goes else 0
        found[row.pk] = Standing(goes, row.desired == Desired.CANCEL, models_of(row), share)
    return found


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
        known: frozenset[str],
    ) -> None:
        self.lost: set[int] = set()
        self._owner = owner
        self._heart = heart
        self.only = session_id
        self._heavy = known - {"facets"} - skip
        self._unsure: list[Batch] = []

    def take_range(
        self, full: list[int], alone: bool
    ) -> tuple[AnalysisSession, Batch, Any, int] | None:
        """A prepared range with its conversations and this worker's share of calls.

        ``full`` are analyses that need no more now; ``alone``: the worker holds nothing else, so
        it may take a suspect (see :func:`is_suspect`).
        """
        waiting = self._waiting().filter(stage="facets").exclude(session__in=full)
        batch = self._take(waiting.order_by("seq", "id"), alone)
        if batch is None:
            return None
        try:
            session = session_of(batch)
            items = open_range(session, batch)
            return session, batch, items, share_of(session.pk, session.params)
        except (ValueError, TypeError, LookupError) as error:
            log.exception("Batch %s could not be opened.", batch)
            self._heart.drop(batch)
            give_up(batch, f"The conversations could not be opened: {type(error).__name__}.")
            return None
        except Error:
            self._let_go(batch)
            raise

    def take_heavy(self, reading: bool, alone: bool) -> tuple[AnalysisSession, Batch] | None:
        """A batch of anything but reading, of the stages that this program knows."""
        stages = set(self._heavy)
        if reading and self._stocked():
            stages.discard("prepare")
        waiting = self._waiting().filter(stage__in=stages)
        batch = self._take(waiting.order_by(HEAVY_ORDER, "seq", "id"), alone)
        if batch is None:
            return None
        try:
            return session_of(batch), batch
        except Error:
            self._let_go(batch)
            raise

    def give_back_unsure(self) -> None:
        """Give back what the database may have granted without this worker hearing of it.

        Nobody works on it, and it would wait until its lease runs out. A claim that was rolled
        back leaves no row with this owner and fence, unless it was made again: hence this comes
        before every claim.
        """
        while self._unsure:
            batch = self._unsure[-1]
            held = Batch.objects.filter(pk=batch.pk, fence=batch.fence, owner=self._owner)
            if held.exists():
                with suppress(work.LeaseLost):
                    given_back(batch)
            self._unsure.pop()

    def _let_go(self, batch: Batch) -> None:
        self._heart.drop(batch)
        self._unsure.append(batch)

    def _stocked(self) -> bool:
        """Whether enough prepared text waits; then reading workers let others prepare."""
        stock: int = self._waiting().filter(stage="facets").count()
        return stock >= STOCK

    def _waiting(self) -> Any:
        waiting = claimable()
        return waiting.filter(session=self.only) if self.only else waiting

    def _take(self, candidates: Any, alone: bool) -> Batch | None:
        """The first suspect if the worker holds nothing else, else the first that is none."""
        self.give_back_unsure()
        candidates = work.claimable(candidates)
        batch = self._claim(candidates.filter(attempt__gte=SUSPECT)) if alone else None
        return batch or self._claim(candidates.filter(attempt__lt=SUSPECT))

    def _claim(self, candidates: Any) -> Batch | None:
        # A plain look first: claiming takes the write lock.
        session = candidates.values_list("session", flat=True).first()
        if session is None:
            return None
        batch: Batch | None = None
        try:
            with transaction.atomic():
                # Else a pause decided at this moment could say "paused" beside this claim.
                locked(session)
                batch = work.claim(candidates.filter(session=session), owner=self._owner)
        except Error:
            if batch is not None:  # the connection broke at COMMIT, which may have gone through
                self._unsure.append(batch)
            raise
        if batch is not None:
            self.lost.discard(batch.pk)
            self._heart.hold(batch)
            reach("after_claim")
        return batch
