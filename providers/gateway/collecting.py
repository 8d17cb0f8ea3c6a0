"""Collecting what a provider answered in batch mode, in whatever order it comes.

Everything here may be done again at any time: lines are settled by the journal's name of their
call, once, and a batch is only ended after all of its lines have an outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from core.crashpoints import reach
from providers.gateway.bulk import BulkApi, LineResult, RemoteBatch, Sought
from providers.gateway.errors import ErrorClass, Fault
from providers.gateway.types import Deployment

CHUNK = 100
"""Lines that are settled in one transaction."""


@dataclass(frozen=True, slots=True)
class Held:
    """A batch that was not collected yet.

    ``number`` is empty when it is not known whether the provider has it; ``listed`` then says that
    it would be listed by now. ``overdue``: its time is long over. ``unwanted``: it shall be
    cancelled, and what was answered collected.
    """

    sought: Sought
    number: str = ""
    listed: bool = False
    overdue: bool = False
    unwanted: bool = False


class Book(Protocol):
    """What collecting writes down. Called between awaits, one after the other."""

    async def sent(self, uid: str, number: str) -> None: ...

    async def lost(self, uid: str) -> None:
        """The provider never took it: its calls may be asked again."""
        ...

    async def looked(self, uid: str, state: str, done: int) -> None:
        """It still works."""
        ...

    async def keep(self, uid: str, results: Sequence[LineResult]) -> None:
        """Settle lines, in one transaction; lines that are settled or unknown change nothing."""
        ...

    async def end(self, uid: str, state: str, *, expired: bool) -> None:
        """Nothing more will come: lines without an outcome may be asked again."""
        ...


async def collect(deployment: Deployment, held: Held, api: BulkApi, book: Book) -> None:
    """Look once at a batch and do what is due. Raises :class:`Fault`."""
    number = held.number or await _found(deployment, held, api, book)
    if not number:
        return
    uid = held.sought.uid
    batch = await _looked_at(deployment, held, number, api)
    if not batch.ended:
        if held.unwanted:
            with suppress(Fault):  # it may be cancelled already; else it is asked for again
                await api.cancel(deployment, number)
        if not held.overdue:
            await book.looked(uid, batch.state, batch.done)
            return
    chunk: list[LineResult] = []
    if batch.ended:
        async for result in api.results(deployment, batch):
            chunk.append(result)
            if len(chunk) >= CHUNK:
                await book.keep(uid, chunk)
                reach("bulk_kept")
                chunk = []
    await book.keep(uid, chunk)
    reach("bulk_collected")
    await book.end(uid, batch.state, expired=batch.expired or not batch.ended)


async def _found(deployment: Deployment, held: Held, api: BulkApi, book: Book) -> str | None:
    """The number of a batch whose sender died or heard nothing, looked up by its uid."""
    number = await api.find(deployment, held.sought)
    if number is not None:
        await book.sent(held.sought.uid, number)
    elif held.listed:
        await book.lost(held.sought.uid)
    return number


async def _looked_at(deployment: Deployment, held: Held, number: str, api: BulkApi) -> RemoteBatch:
    """The batch; one that the provider has forgotten long after its time counts as expired."""
    try:
        return await api.status(deployment, number)
    except Fault as fault:
        if held.overdue and fault.error_class is ErrorClass.NOT_FOUND:
            return RemoteBatch(number, "forgotten", ended=True, expired=True)
        raise
