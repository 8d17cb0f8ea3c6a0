"""The paid-call journal: what was asked before bytes leave, what came back before it is read.

A call that a crash interrupted is found again by its fingerprint; one that was answered is
replayed and pays nothing. Writes and reads of many calls are gathered into groups, because a
durable commit costs about as much for thirty rows as for one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

log = logging.getLogger("openclio.gateway")

State = Literal["sent", "ok", "failed"]


@dataclass(frozen=True, slots=True)
class JournalRow:
    """The newest state of one call; a later row of the same fingerprint replaces an earlier one.

    A group may hold several rows of one fingerprint (``failed``, then ``sent`` for the retry):
    they are to be applied in order. ``attempt`` counts sends from 1. ``cost`` is in US dollars,
    ``None`` when the price is unknown. Rows of state ``failed`` carry class and cause, and
    ``in_doubt`` where the provider may have billed the send all the same, or ``unsent`` where
    nothing left. ``ticket`` tells the
    sends of one ``owner`` apart. An intent carries ``reserved``, the most it can cost in US
    dollars (``None`` when unpriced), and ``open_for``, the seconds until its answer can no longer
    come. ``found`` marks an answer that an earlier send had brought and the provider had kept.
    ``user`` and ``key`` are whose use is counted; ``tokens_reserved`` the most tokens the call
    can take, in and out. ``tokens_reasoning`` are part of ``tokens_out``. ``max_age`` is how old
    an answer bought by another analysis may be to serve an intent, in seconds.
    """

    fingerprint: str
    workspace: int
    session: int | None
    purpose: str
    provider: str
    model: str
    state: State = "sent"
    request_hash: str = ""
    prompt_version: str = ""
    response: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    cost: float | None = None
    latency_ms: int | None = None
    error_class: str = ""
    message: str = ""
    attempt: int = 1
    owner: str = ""
    project: int | None = None
    ticket: int = 0
    reserved: float | None = 0.0
    open_for: float = 150.0
    in_doubt: bool = False
    unsent: bool = False
    found: bool = False
    deployment: str = ""
    user: int | None = None
    key: int | None = None
    tokens_reserved: int = 0
    tokens_reasoning: int = 0
    batched: bool = False
    max_age: float | None = None


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer paid for earlier: ``age`` seconds ago, for the analysis ``session``."""

    text: str
    model: str
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    cost: float | None = None
    age: float = 0.0
    session: int | None = None


def fresh(answer: StoredAnswer, max_age: float | None, session: int | None) -> bool:
    """Whether a stored answer may be used: young enough, or bought by the same analysis, which
    must never pay twice."""
    return max_age is None or bought_by(answer, session) or answer.age <= max_age


def bought_by(answer: StoredAnswer, session: int | None) -> bool:
    """Whether this very analysis paid for an answer, which then saves nothing by serving it."""
    return session is not None and answer.session == session


Word = Literal["go", "wait", "answered", "refused", "parked"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the journal says to an intent.

    ``go``: it is committed, send; ``doubted`` is then how many seconds ago a send of this call
    was cut off, ``None`` when none was. ``wait``: somebody else is asking the same, or calls now
    out hold the room under a limit; look again. ``answered``: here is the ``answer``.
    ``refused``: a limit forbids it, as ``text`` says. ``parked``: the batch that ``text`` names
    will bring the answer.
    """

    word: Word = "go"
    text: str = ""
    answer: StoredAnswer | None = None
    doubted: float | None = None


GO = Verdict()

Verdicts = Mapping[int, Verdict]
"""What is not a plain ``go``, by ticket."""


class JournalStore(Protocol):
    """Where rows live. Called from one thread of its own, never from the event loop."""

    def write(self, rows: Sequence[JournalRow]) -> Verdicts:
        """Commit the rows durably, in order, in one transaction."""
        ...

    def read(self, fingerprints: Sequence[str]) -> dict[str, StoredAnswer]:
        """The answers of those fingerprints whose newest state is ``ok``."""
        ...

    def spared(self, answer: StoredAnswer, purpose: str, project: int | None) -> None:
        """Take note of a call that was not made, as an answer bought by others served."""
        ...

    def close(self) -> None:
        """Give back what the thread holds, a database connection for instance."""
        ...


class Journal(Protocol):
    """What the gateway needs."""

    async def lookup(self, fingerprints: Sequence[str]) -> dict[str, StoredAnswer]: ...

    async def write(self, row: JournalRow) -> Verdict:
        """Return once the row is committed, or an intent was decided on."""
        ...

    def post(self, row: JournalRow) -> None:
        """Commit the row soon, before any row written later."""
        ...

    def spared(self, answer: StoredAnswer, purpose: str, project: int | None) -> None:
        """Note soon that an answer bought by others spared a call."""
        ...

    async def aclose(self) -> None: ...


class MemoryStore:
    """A journal store in memory, for tests and throw-away work."""

    def __init__(self) -> None:
        self.rows: dict[str, JournalRow] = {}
        self.history: list[JournalRow] = []
        self.groups: list[int] = []
        self.savings: list[StoredAnswer] = []

    def write(self, rows: Sequence[JournalRow]) -> Verdicts:
        self.groups.append(len(rows))
        self.history.extend(rows)
        self.rows.update((row.fingerprint, row) for row in rows)
        return {}

    def read(self, fingerprints: Sequence[str]) -> dict[str, StoredAnswer]:
        found = {key: self.rows[key] for key in fingerprints if key in self.rows}
        return {
            key: StoredAnswer(
                row.response,
                row.model,
                row.tokens_in,
                row.tokens_out,
                row.tokens_cached,
                row.cost,
                session=row.session,
            )
            for key, row in found.items()
            if row.state == "ok"
        }

    def spared(self, answer: StoredAnswer, purpose: str, project: int | None) -> None:
        self.savings.append(answer)

    def close(self) -> None:
        """Nothing is held."""


QUIET = 3
"""After so many lingers without a group, or so many groups of one caller in a row, the next one
leaves at once."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Group(Generic[Item, Result]):
    """Gathers items and hands them over together, one group at a time, in order of arrival.

    A group leaves when ``limit`` items wait, or when the first of them has waited ``linger``
    seconds, or, while a group is under way, as soon as that one is done. After a quiet spell, and
    where nobody came along the last times, nobody is waited for: a lone call would only lose time.
    """

    def __init__(
        self,
        act: Callable[[Sequence[Item]], Result],
        thread: ThreadPoolExecutor,
        *,
        linger: float,
        limit: int,
        retry_for: float,
    ) -> None:
        self._act = act
        self._thread = thread
        self._linger = linger
        self._limit = limit
        self._retry_for = retry_for
        self._waiting: list[Item] = []
        self._done: asyncio.Future[Result] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._ended = float("-inf")
        self._callers = self._alone = 0

    def add(self, items: Sequence[Item]) -> asyncio.Future[Result]:
        """Queue items; the future resolves when their group was handled."""
        loop = asyncio.get_running_loop()
        if self._done is None:
            self._done = loop.create_future()
        done = self._done
        self._waiting.extend(items)
        self._callers += 1
        if self._task is None:
            if len(self._waiting) >= self._limit:
                self._start()
            elif self._timer is None:
                spell = loop.time() - self._ended > QUIET * self._linger
                quiet = spell or self._alone >= QUIET
                self._timer = loop.call_later(0 if quiet else self._linger, self._start)
        return done

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is None and self._done is not None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._done is not None:
            items, done = self._waiting, self._done
            self._waiting, self._done = [], None
            self._alone = self._alone + 1 if self._callers == 1 else 0
            self._callers = 0
            await self._handle(items, done)
        self._task = None
        self._ended = asyncio.get_running_loop().time()

    async def _handle(self, items: Sequence[Item], done: asyncio.Future[Result]) -> None:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._retry_for
        pause = 0.1
        while True:
            try:
                result = await loop.run_in_executor(self._thread, self._act, items)
            except Exception as error:  # noqa: BLE001 - goes to every caller that waits
                if loop.time() + pause > give_up:
                    done.set_exception(error)
                    done.exception()  # marks it as seen: posted rows have no one waiting
                    log.error("journal group of %d rows lost: %s", len(items), type(error).__name__)
                    return
                await asyncio.sleep(pause)
                pause = min(2.0, pause * 2)
            else:
                done.set_result(result)
                return

    async def drain(self) -> None:
        """Wait until nothing is left."""
        self._start()
        while self._task is not None:
            await asyncio.wait([self._task])


class GroupCommitJournal:
    """A journal over a blocking store, with grouped commits in one thread.

    ``linger`` is how long the first row of a group waits for company in seconds, ``max_rows``
    the size at which it stops waiting. A failing store is tried again for ``retry_for`` seconds;
    meanwhile the calls' answers wait in memory.
    """

    def __init__(
        self,
        store: JournalStore,
        *,
        linger: float = 0.02,
        max_rows: int = 32,
        retry_for: float = 20.0,
    ) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._writes: _Group[JournalRow, Verdicts] = _Group(
            store.write, self._thread, linger=linger, limit=max_rows, retry_for=retry_for
        )
        self._reads: _Group[str, dict[str, StoredAnswer]] = _Group(
            store.read, self._thread, linger=linger, limit=max_rows, retry_for=retry_for
        )

    async def lookup(self, fingerprints: Sequence[str]) -> dict[str, StoredAnswer]:
        """The stored answers among the fingerprints."""
        if not fingerprints:
            return {}
        found = await asyncio.shield(self._reads.add(fingerprints))
        return {key: found[key] for key in fingerprints if key in found}

    async def write(self, row: JournalRow) -> Verdict:
        """Return once the row is committed, or an intent was decided on."""
        verdicts = await asyncio.shield(self._writes.add([row]))
        return verdicts.get(row.ticket, GO)

    def post(self, row: JournalRow) -> None:
        """Commit the row soon, without waiting for it."""
        _ = self._writes.add([row])

    def spared(self, answer: StoredAnswer, purpose: str, project: int | None) -> None:
        """Note soon that an answer bought by others spared a call, without waiting for it."""
        self._thread.submit(self._store.spared, answer, purpose, project)

    async def aclose(self) -> None:
        """Write what waits, then let the store and its thread go."""
        await self._writes.drain()
        await self._reads.drain()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._store.close)
        self._thread.shutdown(wait=True)
