"""The worker: one event loop that claims batches, keeps calls in flight and saves results.

Two kinds of work share the loop. Reading (stage ``facets``) keeps its concurrency full across
batch borders; everything else is one batch at a time beside it, with heavy numbers in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import Error

from analyses.models import AnalysisSession, Batch
from analyses.pipeline.base import CallFailed, Stopped
from analyses.pipeline.facets import FacetsParams, FacetsStage
from analyses.runner import ports as port_factory
from analyses.runner.claims import Claims, Models, Standing, is_suspect, models_of, standings
from analyses.runner.endings import call_failed, failed, give_back
from analyses.runner.patience import hang_up, patiently
from analyses.runner.ports import Ports
from analyses.runner.ranges import save_range
from analyses.runner.reading import OpenBatch, Reader
from analyses.runner.sources import specs
from analyses.runner.stages import HANDLERS
from analyses.runner.whole import NUMERIC, Held, Progress, files_at_hand, perform
from analyses.services.advance import block, given_back
from analyses.services.bulk import put_aside
from analyses.services.pumps import beat, still
from core import database, disks, q2, work
from core.errors import AppError
from core.heartbeat import Heartbeat
from core.memory import give_back as give_back_memory
from core.models import LeasedWork

log = logging.getLogger("openclio.worker")

POLL = 0.1
"""Seconds between looks for work while idle."""

HOUSEKEEPING = 0.5
"""Seconds between looks at what people want (pause, stop)."""


class Worker:
    """Works for at most ``seconds`` (then finishes what is in flight) or until idle.

    ``session_id`` restricts it to one analysis, ``skip`` names stages left to others;
    ``idle_exit`` is how long it stays without work. ``quit_when`` ends it from outside.
    """

    def __init__(
        self,
        *,
        session_id: int | None = None,
        seconds: float = float("inf"),
        idle_exit: float = 1.5,
        reads: bool = True,
        skip: frozenset[str] = frozenset(),
        quit_when: Callable[[], bool] = q2.draining,
    ) -> None:
        self._until = time.monotonic() + seconds
        self._idle_exit = idle_exit
        self._reads = reads
        self._quit_when = quit_when
        self._owner = work.owner_name()
        self._heart = Heartbeat(self._lost)
        self._claims = Claims(
            self._owner,
            self._heart,
            session_id=session_id,
            skip=skip,
            known=frozenset(HANDLERS),
        )
        self._db = ThreadPoolExecutor(1, thread_name_prefix="db")
        self._heavy_db = ThreadPoolExecutor(1, thread_name_prefix="db-heavy")
        self._numbers = ThreadPoolExecutor(1, thread_name_prefix="numbers")
        self._wake = asyncio.Event()
        self._readers: dict[int, Reader] = {}
        self._ports: dict[int, Ports] = {}
        self._models: dict[int, Models] = {}
        self._job: Held | None = None
        self._stopped: set[int] = set()
        self._dropped: set[int] = set()
        self._leaving = False
        self._looked = 0.0
        self._empty_until: dict[str, float] = {}

    @property
    def _reading(self) -> bool:
        return any(not reader.idle for reader in self._readers.values())

    async def run(self) -> None:
        """Work until there is nothing more, the time is up or the process is told to stop."""
        self._heart.start()
        idle_since = time.monotonic()
        try:
            while not self._ending():
                await self._look_around()
                await self._save_ready()
                found = await self._claim()
                if found or self._busy:
                    idle_since = time.monotonic()
                elif time.monotonic() - idle_since > self._idle_exit:
                    break
                if not found:
                    await self._rest()
            await self._drain()
        except Error as error:
            if not database.passes(error):
                raise
            log.error("The database stays away; what is held here is taken back from it later.")
        finally:
            await self._close()

    @property
    def _busy(self) -> bool:
        return self._job is not None or any(not r.idle for r in self._readers.values())

    def _ending(self) -> bool:
        return time.monotonic() > self._until or self._quit_when() or not self._heart.safe

    async def _rest(self) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), POLL)
        except TimeoutError:
            return
        finally:
            self._wake.clear()

    async def db(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a database function in the thread that reading uses."""
        return await patiently(self._db, self._hopeless, function, *args)

    async def heavy_db(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a database function in the thread of whole stages, which may take long."""
        return await patiently(self._heavy_db, self._hopeless, function, *args)

    def _hopeless(self) -> bool:
        """Whether it is no use to wait for the database: leases run out, or the process ends."""
        return self._quit_when() or self._heart.hopeless

    # --- what people want ----------------------------------------------------------------

    async def _look_around(self) -> None:
        if time.monotonic() - self._looked < HOUSEKEEPING:
            return
        self._looked = time.monotonic()
        held = set(self._ports) | self._used
        await self.db(self._claims.give_back_unsure)
        standing = await self.db(self._standings, held)
        wanted = {pk for pk, one in standing.items() if one.goes and self._fits(pk, one)}
        self._dropped = {pk for pk in held if pk not in standing or standing[pk].cancelled}
        self._stopped |= held - wanted
        self._direct_readers({pk: standing[pk].share for pk in wanted})
        # What was blocked or paused may go on with another key, address or model.
        for pk in (held - wanted - self._used) & self._ports.keys():
            await self._ports.pop(pk).close()
        if self._job is not None:
            await self.db(self._job.told.write)

    def _direct_readers(self, shares: dict[int, int]) -> None:
        """Give readers their shares; stop those that shall not go on, forget those that ended."""
        for pk, reader in list(self._readers.items()):
            if pk in shares:
                reader.share(shares[pk])
            else:
                reader.stop()
            if reader.idle and (reader.stopping or pk not in shares):
                del self._readers[pk]

    @property
    def _used(self) -> set[int]:
        return set(self._readers) | ({self._job.batch.session_id} if self._job else set())

    def _standings(self, held: set[int]) -> dict[int, Standing]:
        if self._claims.only is None:  # others do not wait for a worker that is not theirs
            beat(self._owner)
        return standings(held)

    def _fits(self, pk: int, standing: Standing) -> bool:
        """Whether the ports at hand still ask the models that the analysis wants."""
        return self._models.get(pk, standing.models) == standing.models

    # --- claiming ------------------------------------------------------------------------

    async def _claim(self) -> bool:
        found = False
        if self._free and self._reads and self._wants_reading() and self._due("reading"):
            found = self._note("reading", await self._claim_reading())
        if self._free and self._job is None and self._due("heavy"):
            found = self._note("heavy", await self._claim_heavy()) or found
        return found

    @property
    def _free(self) -> bool:
        """Whether more may be claimed: a suspect shares its worker with nothing."""
        held = [opened.batch for reader in self._readers.values() for opened in reader.open]
        held += [self._job.batch] if self._job else []
        return not any(is_suspect(batch) for batch in held)

    def _due(self, kind: str) -> bool:
        """Whether to look for work of a kind: not again so soon after finding none."""
        return time.monotonic() >= self._empty_until.get(kind, 0.0)

    def _note(self, kind: str, found: bool) -> bool:
        self._empty_until[kind] = 0.0 if found else time.monotonic() + POLL
        return found

    def _wants_reading(self) -> bool:
        readers = [reader for reader in self._readers.values() if not reader.stopping]
        return not readers or any(reader.hungry for reader in readers)

    async def _claim_reading(self) -> bool:
        full = [pk for pk, reader in self._readers.items() if not reader.hungry]
        opened = await self.db(self._claims.take_range, full, not self._busy)
        if opened is None:
            return False
        session, batch, items, share = opened
        reader = self._readers.get(session.pk)
        if reader is None:
            self._stopped.discard(session.pk)
            try:
                reader = await self._make_reader(session)
            except CallFailed as error:
                self._heart.drop(batch)
                await call_failed(self.heavy_db, batch, error)
                return False
        reader.share(share)
        reader.add(OpenBatch(batch, items))
        return True

    async def _claim_heavy(self) -> bool:
        taken = await self.db(self._claims.take_heavy, self._reading, not self._busy)
        if taken is None:
            return False
        session, batch = taken
        self._stopped.discard(session.pk)
        self._job = Held(batch, Progress(batch))
        self._job.task = asyncio.create_task(self._do(session, self._job))
        return True

    # --- reading -------------------------------------------------------------------------

    async def _make_reader(self, session: AnalysisSession) -> Reader:
        ports = await self._ports_of(session)
        facets = await self.db(specs, session)
        stage = FacetsStage(
            FacetsParams(
                facets=facets,
                output_language=session.project.language,
                instructions=session.template_version.instructions,
            )
        )
        context = port_factory.context(
            session,
            ports,
            threads=self._numbers,
            should_stop=lambda: session.pk in self._stopped,
            report=lambda done, total: None,
        )
        reader = Reader(session, ports, stage, context, self._wake.set)
        self._readers[session.pk] = reader
        return reader

    async def _ports_of(self, session: AnalysisSession) -> Ports:
        if session.pk not in self._ports:
            # After a long sleep the leases may be somebody else's: then nothing more is sent.
            stop = lambda pk=session.pk: pk in self._stopped or not self._heart.safe  # noqa: E731
            try:
                self._ports[session.pk] = await self.db(port_factory.build, session, stop)
                self._models[session.pk] = models_of(session)
            except AppError as error:
                raise CallFailed("auth", error.text, fatal=True) from error
        return self._ports[session.pk]

    async def _save_ready(self) -> None:
        for reader in list(self._readers.values()):
            if reader.fatal is not None:  # first of all, or another worker takes what is released
                fatal, reader.fatal = reader.fatal, None
                self._stopped.add(reader.session.pk)
                told = (fatal.error_class, fatal.message, fatal.retry_after)
                await self.db(block, reader.session.pk, *told)
            for opened in reader.take_finished():
                await self._save_range(reader, opened)

    async def _save_range(self, reader: Reader, opened: OpenBatch) -> None:
        self._heart.drop(opened.batch)
        if opened.lost or opened.batch.pk in self._claims.lost:
            return
        try:
            if opened.complete:
                await self.db(save_range, reader.session, opened, reader.ports.local)
            elif opened.error:
                await failed(self.heavy_db, opened.batch, opened.error)
            elif opened.at_provider:
                await self.db(put_aside, opened.batch, set(opened.waiting.values()))
            else:
                await self.db(given_back, opened.batch)
        except work.LeaseLost:
            log.warning("Batch %s was taken by another worker.", opened.batch)
        except Exception as error:
            if database.passes(error):
                raise
            log.exception("Batch %s could not be saved.", opened.batch)
            await failed(self.heavy_db, opened.batch, f"Not saved: {type(error).__name__}.")

    # --- everything else -----------------------------------------------------------------

    async def _do(self, session: AnalysisSession, held: Held) -> None:
        """Run one batch of a whole stage; every ending leaves the batch in a known state."""
        batch = held.batch
        try:
            ports = await self._ports_of(session)
            if not await self.heavy_db(files_at_hand, session, batch):
                return
            await perform(
                session,
                held,
                ports,
                db=self.heavy_db,
                numbers=self._numbers,
                should_stop=lambda: self._stops(batch),
            )
        except work.LeaseLost:
            log.warning("Batch %s was taken by another worker.", batch)
        except Stopped:
            await give_back(self.heavy_db, batch)
        except CallFailed as error:
            await call_failed(self.heavy_db, batch, error)
        except Exception as error:
            if disks.is_full(error):
                await self.heavy_db(block, batch.session_id, "disk", "The disk is full.")
            if disks.is_full(error) or database.passes(error):  # no fault of the batch
                await give_back(self.heavy_db, batch)
                return
            log.exception("Stage %s of analysis %s failed.", batch.stage, batch.session_id)
            await failed(self.heavy_db, batch, f"{type(error).__name__}: {error}")
        finally:
            self._heart.drop(batch)
            self._job = None
            give_back_memory()
            self._wake.set()

    def _stops(self, batch: Batch) -> bool:
        """Whether a whole stage has to end early: numbers alone outlast a pause, but no stop."""
        waits = batch.session_id not in self._dropped and not self._leaving
        return batch.session_id in self._stopped and not (waits and batch.stage in NUMERIC)

    # --- ending --------------------------------------------------------------------------

    def _lost(self, item: LeasedWork) -> None:
        """Heartbeat's thread: the claim is gone, stop issuing calls for it."""
        self._claims.lost.add(item.pk)
        for reader in list(self._readers.values()):
            for opened in reader.open:
                if opened.batch.pk == item.pk:
                    opened.lost = True

    async def _drain(self) -> None:
        """Let calls in flight end, save or give back what is held."""
        for pk, reader in self._readers.items():
            reader.stop()
            self._stopped.add(pk)
        self._leaving = True
        if self._job is not None:
            self._stopped.add(self._job.batch.session_id)
        while self._busy and not self._heart.hopeless:
            await self._save_ready()
            await self._rest()
        await self._save_ready()
        await self.db(self._claims.give_back_unsure)

    async def _close(self) -> None:
        # First of all: a heart that beats on would keep leases that nobody works on.
        self._heart.stop()
        try:
            # A stage that still ends may make another.
            for ports in list(self._ports.values()):
                await ports.close()
            await self.db(still, self._owner)
        except Error:
            log.warning("The beat of this worker could not be removed; it grows old by itself.")
        finally:
            for pool in (self._db, self._heavy_db):
                pool.submit(hang_up).result()
            for pool in (self._db, self._heavy_db, self._numbers):
                pool.shutdown(wait=True)
