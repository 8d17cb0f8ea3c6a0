"""The two state machines: their tables, and the functions that write along them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import transaction

from analyses import states
from analyses.models import ENDED, AnalysisSession, Batch, SessionStatus
from analyses.services.advance import locked, set_status
from core import work
from core.models import WorkStatus
from tests.analyses.support import statuses

DESIGNED = {
    "queued": "running paused cancelled",
    "running": "pausing paused blocked cancelling cancelled completed completed_partial failed",
    "pausing": "paused running cancelling cancelled",
    "paused": "queued cancelled",
    "blocked": "queued pausing paused cancelling cancelled",
    "cancelling": "cancelled",
    "failed": "queued",
    "completed_partial": "queued",
    "completed": "",
    "cancelled": "",
}


def test_the_table_is_the_designed_one_and_names_every_status() -> None:
    assert {old: set(new) for old, new in states.EDGES.items()} == {
        old: set(new.split()) for old, new in DESIGNED.items()
    }
    assert set(states.EDGES) == set(SessionStatus.values)
    assert set(work.EDGES) == set(WorkStatus.values)


def test_every_status_leads_to_an_end() -> None:
    reached = set(ENDED)
    for _ in states.EDGES:
        reached |= {old for old, new in states.EDGES.items() if reached & new}
    assert reached == set(SessionStatus.values)


@pytest.mark.parametrize("old", SessionStatus.values)
@pytest.mark.parametrize("new", SessionStatus.values)
def test_a_status_changes_along_an_edge_or_not_at_all(
    start: Callable[..., AnalysisSession], old: str, new: str
) -> None:
    session = start()
    AnalysisSession.objects.filter(pk=session.pk).update(status=old)
    with transaction.atomic():
        row = locked(session.pk)
        if new in states.EDGES[old] or new == old:
            set_status(row, new)
        else:
            with pytest.raises(states.IllegalEdge):
                set_status(row, new)
    session.refresh_from_db()
    legal = new in states.EDGES[old] or new == old
    assert session.status == (new if legal else old)
    assert (session.finished_at is not None) == (legal and new != old and new in ENDED)


def test_a_status_that_somebody_else_changed_is_not_overwritten(
    start: Callable[..., AnalysisSession],
) -> None:
    session = start()
    stale = AnalysisSession.objects.get(pk=session.pk)
    AnalysisSession.objects.filter(pk=session.pk).update(status=SessionStatus.CANCELLED)
    told = statuses(session)
    with pytest.raises(states.StatusMoved), transaction.atomic():
        set_status(stale, SessionStatus.PAUSED)
    session.refresh_from_db()
    assert session.status == SessionStatus.CANCELLED
    assert statuses(session) == told


@pytest.mark.parametrize("old", WorkStatus.values)
@pytest.mark.parametrize("new", WorkStatus.values)
def test_work_changes_along_an_edge_or_not_at_all(
    start: Callable[..., AnalysisSession], old: str, new: str
) -> None:
    batch = start().batches.first()
    assert batch is not None
    rows = Batch.objects.filter(pk=batch.pk)
    rows.update(status=old)
    if new in work.EDGES[old]:
        other = next(status for status in WorkStatus.values if status != old)
        rows.update(status=other)
        assert work.shift(rows, old, new) == 0
        rows.update(status=old)
        assert work.shift(rows, old, new) == 1
    else:
        with pytest.raises(work.IllegalEdge):
            work.shift(rows, old, new)
    assert rows.get().status == (new if new in work.EDGES[old] else old)
