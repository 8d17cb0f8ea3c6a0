"""How many conversations are in work at once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from analyses.runner.ports import AHEAD
from analyses.runner.reading import OpenBatch, Reader

CALLS = 4


class Waiting(SimpleNamespace):
    """Ports of an analysis so many of whose calls wait to be sent again."""

    local = batched = False

    def share(self, _calls: int) -> None:
        return


def begun(pausing: int) -> int:
    """Conversations in work of a hundred."""

    async def run() -> int:
        any_one: Any = None
        ports: Any = Waiting(pausing=pausing)
        reader = Reader(any_one, ports, any_one, any_one_context(), lambda: None)
        reader.share(CALLS)
        batch = OpenBatch(any_one, {number: (number, any_one) for number in range(100)})
        reader.add(batch)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        return batch.in_flight

    return asyncio.run(run())


def any_one_context() -> Any:
    return SimpleNamespace(concurrency=CALLS)


@pytest.mark.parametrize(("pausing", "more"), [(0, 0), (3, 3), (50, AHEAD * CALLS)])
def test_calls_that_wait_to_be_sent_again_keep_nobody_from_being_read(
    pausing: int, more: int
) -> None:
    assert begun(pausing) == AHEAD * CALLS + more
