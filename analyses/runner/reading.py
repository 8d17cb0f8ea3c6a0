"""Reading conversations: the concurrency of an analysis is kept full across batch borders."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from django.db import Error

from analyses.models import AnalysisSession, Batch
from analyses.pipeline.base import CallFailed, Context, Deferred, Stopped
from analyses.pipeline.facets import FacetsStage
from analyses.pipeline.records import FacetsRead, ItemFailed, Prepared
from analyses.runner.outage import AGAIN, PASSING, to_blame
from analyses.runner.ports import AHEAD, Ports
from core.database import passes
from providers.services.bulk import MOST_WAITING

Result = FacetsRead | ItemFailed


@dataclass(eq=False, slots=True)
class OpenBatch:
    """A claimed batch with what was read of it so far."""

    batch: Batch
    items: dict[int, tuple[int, Prepared]]
    """Primary key of the conversation and its prepared text, by position."""
    results: dict[int, Result] = field(default_factory=dict)
    waiting: dict[int, str] = field(default_factory=dict)
    """The provider's batch that a conversation waits for, by position."""
    in_flight: int = 0
    lost: bool = False
    error: str = ""
    """Why it cannot be completed now, though nobody asked to stop."""

    @property
    def complete(self) -> bool:
        """Whether every conversation has an outcome."""
        return len(self.results) >= len(self.items)

    @property
    def at_provider(self) -> bool:
        """Whether all that has no outcome waits for provider batches."""
        return bool(self.waiting) and len(self.results) + len(self.waiting) >= len(self.items)

    @property
    def ready(self) -> bool:
        """Whether it can be saved or given back: nothing of it is in flight."""
        return not self.in_flight and (self.complete or self.lost or self.at_provider)


class Reader:
    """Reads the conversations of one analysis in this process."""

    def __init__(
        self,
        session: AnalysisSession,
        ports: Ports,
        stage: FacetsStage,
        context: Context,
        wake: Callable[[], None],
    ) -> None:
        self.session = session
        self.ports = ports
        self.limit = context.concurrency
        self.stopping = False
        self.fatal: CallFailed | None = None
        self.open: list[OpenBatch] = []
        self._stage = stage
        self._context = context
        self._wake = wake
        self._queue: deque[tuple[OpenBatch, Prepared]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._tries: Counter[int] = Counter()
        self._later: set[asyncio.TimerHandle] = set()

    @property
    def hungry(self) -> bool:
        """Whether another batch should be claimed: fewer conversations wait than calls are free."""
        waiting = len(self._queue) + len(self._later)
        return not self.stopping and waiting <= self._free // 2

    @property
    def _free(self) -> int:
        """Conversations that may be begun. Those whose calls wait to be sent again hold nothing
        and do not count, up to as many again."""
        return self.limit + min(self.limit, self.ports.pausing) - len(self._tasks)

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight or waiting here."""
        return not self._tasks and not self._queue and not self.open

    def add(self, batch: OpenBatch) -> None:
        """Take a claimed batch into work."""
        self.open.append(batch)
        self._queue.extend((batch, prepared) for _, prepared in batch.items.values())
        self.fill()

    def fill(self) -> None:
        """Start calls until the limit is reached."""
        while self._queue and self._free > 0 and not self.stopping:
            batch, prepared = self._queue.popleft()
            if batch.lost:
                continue
            batch.in_flight += 1
            task = asyncio.create_task(self._read(batch, prepared))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def share(self, calls: int) -> None:
        """Take this process's share of the calls of the analysis."""
        self.limit = calls if self.ports.local else calls * AHEAD
        if self.ports.batched:
            self.limit = MOST_WAITING
        self.ports.share(calls)
        self.fill()

    def stop(self) -> None:
        """Begin no further call; those in flight end and are kept."""
        self.stopping = True
        self._queue.clear()
        for handle in self._later:
            handle.cancel()
        self._later.clear()

    def take_finished(self) -> list[OpenBatch]:
        """Batches that can be saved (complete) or given back (nothing in flight after a stop)."""
        ready = [
            batch for batch in self.open if batch.ready or (self.stopping and not batch.in_flight)
        ]
        self.open = [batch for batch in self.open if batch not in ready]
        return ready

    async def _read(self, batch: OpenBatch, prepared: Prepared) -> None:
        try:
            result = await self._stage.read_one(prepared, self._context)
            if isinstance(result, ItemFailed) and result.error_class in PASSING:
                await self._outage(batch, prepared, result)
            else:
                batch.results[prepared.position] = result
        except Deferred as deferred:
            batch.waiting[prepared.position] = deferred.batch
        except CallFailed as error:
            self.fatal = self.fatal or error
            self.stop()
        except Stopped:
            self.stop()
        except Error as error:
            # A database that is away is no fault of the batch: it is given back untried.
            if not passes(error):
                self._context.log.exception("The journal could not be kept.")
                batch.error = f"The database could not be written: {type(error).__name__}."
            self.stop()
        except Exception as error:
            self._context.log.exception("A conversation could not be read.")
            batch.results[prepared.position] = ItemFailed(
                prepared.position, "internal", f"{type(error).__name__} while reading it."
            )
        finally:
            batch.in_flight -= 1

    async def _outage(self, batch: OpenBatch, prepared: Prepared, result: ItemFailed) -> None:
        """The provider failed, not the conversation: ask again later, at last wait for its end."""
        self._tries[prepared.position] += 1
        tries = self._tries[prepared.position]
        if self.stopping:
            return
        if tries <= len(AGAIN):
            self._put_back(batch, prepared, AGAIN[tries - 1])
        elif await to_blame(result.error_class, self._context.chat):
            batch.results[prepared.position] = result
        else:
            self.fatal = self.fatal or CallFailed(result.error_class, result.message, fatal=True)
            self.stop()

    def _put_back(self, batch: OpenBatch, prepared: Prepared, seconds: float) -> None:
        def again() -> None:
            self._later.discard(handle)
            self._queue.append((batch, prepared))
            self.fill()

        handle = asyncio.get_running_loop().call_later(seconds, again)
        self._later.add(handle)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            self.fill()
        if self.hungry or self.stopping or any(batch.ready for batch in self.open):
            self._wake()
