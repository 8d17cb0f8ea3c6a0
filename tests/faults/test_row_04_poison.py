"""Row 4: one conversation ends the process of every worker that reads it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections

from analyses.models import AnalysisSession, Outcome, SessionStatus
from analyses.pipeline.facets import FacetsStage
from analyses.pipeline.prepare import PrepareStage
from analyses.runner.worker import Worker
from projects.models import Dataset
from tests.analyses.worker.support import check_books, run, worker_run
from tests.faults.support import tick, told_by_page

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks"),
]

POISONED = 17


def in_a_process(session: AnalysisSession, patch: Callable[[], None]) -> int:
    """A worker in a process of its own; the number of the signal that ended it, or 0."""
    connections.close_all()
    child = os.fork()
    if child == 0:
        try:
            patch()
            worker_run(Worker(session_id=session.pk, idle_exit=0.2).run())
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def poison_reading() -> None:
    real = FacetsStage.read_one

    async def read_one(self: FacetsStage, prepared: Any, context: Any) -> Any:
        if prepared.position == POISONED:
            os.kill(os.getpid(), signal.SIGKILL)
        return await real(self, prepared, context)

    FacetsStage.read_one = read_one  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def unpatched() -> Any:
    """The patches are made in children only; a test that makes one here is wrong."""
    before = (FacetsStage.read_one, PrepareStage.run)
    yield
    assert (FacetsStage.read_one, PrepareStage.run) == before


def test_the_conversation_is_found_and_the_rest_is_read(
    talks: Callable[..., Dataset], start: Callable[..., AnalysisSession]
) -> None:
    session = start(talks(40))
    deaths = 0
    for _ in range(20):
        ended_by = in_a_process(session, poison_reading)
        session = tick(session)
        if not ended_by:
            break
        assert ended_by == signal.SIGKILL
        deaths += 1
    session = run(session)
    # Three deaths raise the suspicion; halving ten conversations takes four more.
    assert 3 <= deaths <= 3 + 4
    assert session.status == SessionStatus.PARTIAL, (session.status, session.detail)
    assert (session.read_count, session.failed_count) == (39, 1)
    failed = session.items.get(outcome=Outcome.FAILED)
    assert (failed.position, failed.error_class) == (POISONED, "worker")
    check_books(session)
    said = told_by_page(session)
    assert "1 conversation could not be read." in said
    assert f"Conversation {POISONED + 1} (c-{POISONED}) was set aside." in said
    assert session.recoveries == deaths
