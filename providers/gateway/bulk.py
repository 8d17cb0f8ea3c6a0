"""Batch mode: requests gathered and handed to a provider in one piece, answered within a day.

A :class:`BulkClient` carries no answers. It gathers requests, hands them over and ends every call
with :class:`Parked`: the journal keeps the call as sent, on behalf of the provider's batch, until
:mod:`providers.gateway.collecting` settles it. So a process that waits for nothing holds nothing,
and whatever dies in between, the durable map from calls to batches says who answers what.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from core.crashpoints import reach
from providers.gateway.dispatch import Clock
from providers.gateway.errors import ErrorClass, Fault, Parked, maybe_billed
from providers.gateway.types import Deployment, StreamPiece, WireAnswer, WireChat, WireVectors

TICK = 0.5
"""Seconds between looks at a pool that fills."""


@dataclass(frozen=True, slots=True)
class BulkLimits:
    """When a pool is handed over: so many lines or bytes, or nothing new for ``quiet`` seconds, or
    after ``longest`` seconds. Far below what providers take (:class:`BulkApi`), because all of it
    is held in memory."""

    lines: int = 2_000
    bytes: int = 32 * 1024 * 1024
    quiet: float = 4.0
    longest: float = 60.0


@dataclass(frozen=True, slots=True)
class RemoteBatch:
    """A batch as its provider describes it.

    ``state`` is the provider's own word. ``done`` counts answered lines where it tells.
    ``outputs`` name the files that hold them once it has ``ended``.
    """

    id: str
    state: str
    ended: bool
    done: int = 0
    expired: bool = False
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LineResult:
    """What became of one line: its answer, or why there is none."""

    custom_id: str
    answer: WireAnswer | None = None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Sought:
    """A batch whose number is not known: what tells it from others."""

    uid: str
    since: datetime
    size: int
    known: frozenset[str] = frozenset()
    """Numbers at the provider that are known to be other batches."""


class BulkApi(Protocol):
    """The batch endpoints of one sort of provider. Raises :class:`Fault` and nothing else."""

    def encode(self, deployment: Deployment, custom_id: str, wire: WireChat) -> bytes:
        """One request as a line, without the line's end."""
        ...

    async def submit(self, deployment: Deployment, uid: str, lines: Sequence[bytes]) -> str:
        """Hand lines over as one batch that carries ``uid``; gives back its number.

        A fault that may have been raised although the batch exists has :func:`unsure`.
        """
        ...

    async def find(self, deployment: Deployment, sought: Sought) -> str | None:
        """The number of a batch that was handed over, ``None`` when there is none."""
        ...

    async def status(self, deployment: Deployment, number: str) -> RemoteBatch: ...

    def results(self, deployment: Deployment, batch: RemoteBatch) -> AsyncIterator[LineResult]:
        """The lines of an ended batch, in any order; what is no line is left out."""
        ...

    async def cancel(self, deployment: Deployment, number: str) -> None: ...

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Opened:
    """A batch about to be handed over.

    ``send`` are the calls that belong to it; ``parked`` those that another batch answers, by its
    uid; ``refused`` those that must not be sent as they are, with the reason.
    """

    uid: str
    send: frozenset[str]
    parked: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, Fault] = field(default_factory=dict)


class BulkStore(Protocol):
    """The durable map from calls to batches."""

    async def open(self, deployment: Deployment, names: Collection[str]) -> Opened:
        """Commit a batch that is about to be handed over, and that its calls wait for it."""
        ...

    async def sent(self, uid: str, number: str) -> None:
        """Commit the number that the provider gave it."""
        ...

    async def drop(self, uid: str) -> None:
        """It was certainly not taken: give its calls back to who sent them."""
        ...

    async def leave(self, uid: str) -> None:
        """Whether it was taken is not known: others are to find out."""
        ...

    async def holder(self, name: str) -> str | None:
        """The uid of a batch not yet collected that carries a call."""
        ...

    async def aclose(self) -> None: ...


def unsure(fault: Fault) -> bool:
    """Whether a batch may exist although handing it over failed so."""
    return maybe_billed(fault) or (fault.status or 0) >= 500


@dataclass(slots=True)
class _Pool:
    """Requests that wait to be handed over together."""

    deployment: Deployment
    opened: float
    newest: float
    lines: dict[str, bytes] = field(default_factory=dict)
    waiting: dict[str, asyncio.Future[WireAnswer]] = field(default_factory=dict)
    size: int = 0


class BulkClient:
    """Implements :class:`providers.gateway.types.Client` for batched deployments.

    ``api`` opens the endpoints of a deployment. One client serves one gateway.
    """

    def __init__(
        self,
        api: Callable[[Deployment], BulkApi],
        store: BulkStore,
        clock: Clock,
        limits: BulkLimits | None = None,
    ) -> None:
        self._api = api
        self._store = store
        self._clock = clock
        self._limits = limits or BulkLimits()
        self._pools: dict[str, _Pool] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._apis: dict[str, BulkApi] = {}

    async def chat(self, deployment: Deployment, wire: WireChat) -> WireAnswer:
        """Have the request handed over. Raises :class:`Parked` then, else :class:`Fault`."""
        name = wire.keep_as
        if not name:
            raise Fault(ErrorClass.BAD_REQUEST, "a call without a name cannot wait", sent=False)
        line = self._api_of(deployment).encode(deployment, name, wire)
        return await asyncio.shield(self._add(deployment, name, line))

    def stream(self, deployment: Deployment, wire: WireChat) -> AsyncIterator[StreamPiece]:
        """Nothing comes piece by piece out of a batch."""
        raise Fault(ErrorClass.BAD_REQUEST, "batches are not streamed", sent=False)

    async def embed(
        self, deployment: Deployment, texts: Sequence[str], *, base64: bool, timeout: float
    ) -> WireVectors:
        """Vectors are not asked for in batches."""
        raise Fault(ErrorClass.BAD_REQUEST, "vectors are not asked for in batches", sent=False)

    async def find(self, deployment: Deployment, name: str) -> WireAnswer | None:
        """Nothing, or :class:`Parked` when a batch that still works carries the call."""
        uid = await self._store.holder(name)
        if uid is not None:
            raise Parked(uid)
        return None

    async def aclose(self) -> None:
        """Hand over what waits, then let go of the store and all connections."""
        for key in list(self._pools):
            self._hand_over(key)
        while self._tasks:
            await asyncio.wait(self._tasks)
        for api in self._apis.values():
            await api.aclose()
        await self._store.aclose()

    def _api_of(self, deployment: Deployment) -> BulkApi:
        api = self._apis.get(deployment.id)
        if api is None:
            api = self._apis[deployment.id] = self._api(deployment)
        return api

    def _add(self, deployment: Deployment, name: str, line: bytes) -> asyncio.Future[WireAnswer]:
        now = self._clock.monotonic()
        pool = self._pools.get(deployment.id)
        if pool is not None and pool.size + len(line) > self._limits.bytes:
            self._hand_over(deployment.id)
            pool = None
        if pool is None:
            pool = self._pools[deployment.id] = _Pool(deployment, now, now)
            self._start(self._watch(deployment.id, pool))
        pool.newest = now
        if name not in pool.waiting:
            pool.lines[name] = line
            pool.size += len(line)
            pool.waiting[name] = asyncio.get_running_loop().create_future()
        future = pool.waiting[name]
        if len(pool.lines) >= self._limits.lines:
            self._hand_over(deployment.id)
        return future

    async def _watch(self, key: str, pool: _Pool) -> None:
        """Hand a pool over once nothing new comes, or it has waited long enough."""
        while self._pools.get(key) is pool:
            await self._clock.sleep(TICK)
            now = self._clock.monotonic()
            quiet = now - pool.newest >= self._limits.quiet
            if (quiet or now - pool.opened >= self._limits.longest) and (
                self._pools.get(key) is pool
            ):
                self._hand_over(key)

    def _hand_over(self, key: str) -> None:
        self._start(self._send(self._pools.pop(key)))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, pool: _Pool) -> None:
        try:
            await self._handed_over(pool)
        except Exception as error:  # noqa: BLE001 - goes to every caller that waits
            failed = error
            _end(pool, pool.waiting, lambda: failed)
        finally:
            _end(pool, pool.waiting, asyncio.CancelledError)

    async def _handed_over(self, pool: _Pool) -> None:
        opened = await self._store.open(pool.deployment, pool.lines.keys())
        for name, uid in opened.parked.items():
            _end(pool, (name,), partial(Parked, uid))
        for name, fault in opened.refused.items():
            _end(pool, (name,), partial(_again, fault))
        if opened.send:
            lines = [line for name, line in pool.lines.items() if name in opened.send]
            _end(pool, opened.send, await self._submitted(pool.deployment, opened.uid, lines))

    async def _submitted(
        self, deployment: Deployment, uid: str, lines: Sequence[bytes]
    ) -> Callable[[], Exception]:
        """Hand lines over; gives back what makes the exception that each of their calls ends with.

        Where it is not known whether the batch was taken, the collector finds out.
        """
        reach("bulk_opened")
        try:
            number = await self._api_of(deployment).submit(deployment, uid, lines)
        except Fault as fault:
            if not unsure(fault):
                await self._store.drop(uid)
                return partial(_again, fault)
            await self._store.leave(uid)
            return partial(Parked, uid)
        reach("bulk_submitted")
        await self._store.sent(uid, number)
        reach("bulk_stored")
        return partial(Parked, uid)


def _again(fault: Fault) -> Fault:
    """The fault anew, for one more call; nothing was sent for it."""
    return Fault(
        fault.error_class,
        fault.detail,
        status=fault.status,
        sent=False,
        retry_after=fault.retry_after,
        unsure=fault.unsure,
        rejected=fault.rejected,
    )


def _end(pool: _Pool, names: Iterable[str], made: Callable[[], BaseException]) -> None:
    for name in names:
        future = pool.waiting[name]
        if not future.done():
            future.set_exception(made())
            future.exception()  # marks it as seen: who asked may have been cancelled
