from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from providers.gateway.journal import (
    QUIET,
    GroupCommitJournal,
    JournalRow,
    MemoryStore,
    Verdicts,
)


def row(key: str, state: str = "sent") -> JournalRow:
    return JournalRow(key, 1, None, "facets", "p", "m", state=state, response=f"answer {key}")  # type: ignore[arg-type]


async def test_rows_of_many_calls_share_a_commit() -> None:
    store = MemoryStore()
    journal = GroupCommitJournal(store, linger=0.02, max_rows=32)
    await asyncio.gather(*[journal.write(row(str(i))) for i in range(20)])
    assert store.groups == [20]
    await journal.aclose()


async def test_where_nobody_came_along_nobody_is_waited_for() -> None:
    journal = GroupCommitJournal(MemoryStore(), linger=5)
    for number in range(2 * QUIET):
        if number < QUIET:  # the first ones leave as they would after a quiet spell
            journal._writes._ended = float("-inf")
        await asyncio.wait_for(journal.write(row(str(number))), 2)
    await journal.aclose()


async def test_a_full_group_does_not_linger() -> None:
    journal = GroupCommitJournal(MemoryStore(), linger=5, max_rows=32)
    await journal.write(row("first"))
    started = time.perf_counter()
    await asyncio.gather(*[journal.write(row(str(i))) for i in range(32)])
    assert time.perf_counter() - started < 1
    await journal.aclose()


async def test_a_lone_row_leaves_at_once_and_its_successor_waits_for_company() -> None:
    journal = GroupCommitJournal(MemoryStore(), linger=0.5)
    started = time.perf_counter()
    await journal.write(row("a"))
    first = time.perf_counter()
    await journal.write(row("b"))
    second = time.perf_counter()
    assert first - started < 0.4
    assert 0.4 < second - first < 5
    await journal.aclose()


async def test_write_returns_only_after_the_commit() -> None:
    gate = threading.Event()

    class Slow(MemoryStore):
        def write(self, rows: Sequence[JournalRow]) -> Verdicts:
            gate.wait(2)
            return super().write(rows)

    store = Slow()
    journal = GroupCommitJournal(store, linger=0)
    writing = asyncio.create_task(journal.write(row("a")))
    await asyncio.sleep(0.05)
    assert not writing.done()
    gate.set()
    await writing
    assert "a" in store.rows
    await journal.aclose()


async def test_order_is_kept_across_groups() -> None:
    class Slow(MemoryStore):
        def write(self, rows: Sequence[JournalRow]) -> Verdicts:
            time.sleep(0.01)
            return super().write(rows)

    store = Slow()
    journal = GroupCommitJournal(store, linger=0, max_rows=2)
    for i in range(30):
        journal.post(row(str(i)))
        if i % 7 == 0:
            await asyncio.sleep(0.005)
    await journal.aclose()
    assert [one.fingerprint for one in store.history] == [str(i) for i in range(30)]


async def test_looks_up_only_what_was_answered() -> None:
    store = MemoryStore()
    journal = GroupCommitJournal(store, linger=0)
    for one in (row("a", "ok"), row("b", "failed"), row("c", "sent")):
        await journal.write(one)
    found = await journal.lookup(["a", "b", "c", "d"])
    assert {key: answer.text for key, answer in found.items()} == {"a": "answer a"}
    assert await journal.lookup([]) == {}
    await journal.aclose()


async def test_a_store_that_fails_for_a_while_loses_nothing() -> None:
    class Flaky(MemoryStore):
        failures = 2

        def write(self, rows: Sequence[JournalRow]) -> Verdicts:
            if self.failures:
                self.failures -= 1
                raise OSError("disk full")
            return super().write(rows)

    store = Flaky()
    journal = GroupCommitJournal(store, linger=0, retry_for=5)
    await journal.write(row("a"))
    assert "a" in store.rows
    await journal.aclose()


async def test_a_store_that_stays_down_fails_the_callers() -> None:
    class Broken(MemoryStore):
        def write(self, rows: Sequence[JournalRow]) -> Verdicts:
            raise OSError("gone")

    journal = GroupCommitJournal(Broken(), linger=0, retry_for=0.05)
    with pytest.raises(OSError, match="gone"):
        await journal.write(row("a"))
    await journal.aclose()


async def test_a_cancelled_caller_does_not_cancel_the_others() -> None:
    store = MemoryStore()
    journal = GroupCommitJournal(store, linger=0.02)
    first = asyncio.create_task(journal.write(row("a")))
    second = asyncio.create_task(journal.write(row("b")))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert set(store.rows) == {"a", "b"}
    await journal.aclose()


async def test_closing_writes_what_waits() -> None:
    store = MemoryStore()
    journal = GroupCommitJournal(store, linger=60)
    await journal.write(row("z"))
    journal.post(row("a"))
    await journal.aclose()
    assert "a" in store.rows
