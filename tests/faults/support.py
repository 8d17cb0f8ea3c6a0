"""Breaking things, and reading what the page then says."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.db import OperationalError, connection, connections
from django.db.backends.utils import CursorWrapper
from django.utils import timezone

from analyses import services
from analyses.models import AnalysisSession, Batch
from analyses.selectors.news import news_of
from analyses.selectors.notices import notices_of
from core.models import WorkStatus
from providers.models import CallState, LlmCall
from tests.analyses.worker.support import Told, check_books


def postgres_error(kind: str) -> OperationalError:
    """What Django raises for a condition of PostgreSQL's."""
    import psycopg

    error = OperationalError(kind)
    error.__cause__ = getattr(psycopg.errors, kind)(kind)
    return error


def sqlite_error(code: int) -> OperationalError:
    cause = sqlite3.OperationalError("said by SQLite")
    cause.sqlite_errorcode = code
    error = OperationalError("said by SQLite")
    error.__cause__ = cause
    return error


class Outage:
    """A database that fails every statement between :meth:`begin` and :meth:`end`."""

    def __init__(self, make: Callable[[], Exception]) -> None:
        self._make = make
        self.away = threading.Event()
        self.refused = 0

    def check(self) -> None:
        if self.away.is_set():
            self.refused += 1
            raise self._make()


def gone() -> OperationalError:
    """What Django raises when a server has ended the connection."""
    error = OperationalError("server closed the connection unexpectedly")
    error.__cause__ = _cause()
    return error


def _cause() -> Exception:
    if connection.vendor == "sqlite":
        cause = sqlite3.OperationalError("database is locked")
        cause.sqlite_errorcode = sqlite3.SQLITE_BUSY
        return cause
    import psycopg

    return psycopg.errors.AdminShutdown("terminating connection")


@contextmanager
def outages(monkeypatch: Any, make: Callable[[], Exception] = gone) -> Iterator[Outage]:
    """Every statement of every thread asks the outage first; other threads than the test's."""
    outage = Outage(make)
    mine = threading.get_ident()
    for name in ("execute", "executemany"):
        real = getattr(CursorWrapper, name)

        def broken(self: Any, *args: Any, _real: Any = real, **how: Any) -> Any:
            if threading.get_ident() != mine:
                outage.check()
            return _real(self, *args, **how)

        monkeypatch.setattr(CursorWrapper, name, broken)
    yield outage
    outage.away.clear()


def expire(session: AnalysisSession) -> int:
    """Let all leases of an analysis run out; how many."""
    past = timezone.now() - timedelta(seconds=1)
    return Batch.objects.filter(session=session, status=WorkStatus.LEASED).update(lease_until=past)


def forget_calls() -> None:
    """Let the time run out for which answers of calls that were cut off are waited for."""
    past = timezone.now() - timedelta(seconds=1)
    LlmCall.objects.filter(state=CallState.SENT).update(sent_until=past)


def tick(session: AnalysisSession) -> AnalysisSession:
    """What the supervisor does every two seconds."""
    services.tick()
    session.refresh_from_db()
    return session


def told_by_page(session: AnalysisSession) -> str:
    """All sentences of the page about what happened: its notice and its feed."""
    session.refresh_from_db()
    said = [f"{notice.title} {notice.text}" for notice in notices_of(session)]
    return " ".join([*said, *(row.text for row in news_of(session))])


def check_ledger(session: AnalysisSession, told: Told) -> None:
    """Counters, rows and the provider's own count agree; nothing costs less than nothing."""
    check_books(session)
    calls = LlmCall.objects.filter(analysis_id=session.pk)
    assert not calls.filter(state=CallState.SENT).exists()
    assert not calls.filter(cost__lt=0).exists()
    paid = sum(call.cost or 0 for call in calls.filter(state=CallState.OK))
    assert abs(session.cost - paid) < 1e-6
    assert set(Counter(told.settled).values()) <= {1}


def close_connections() -> None:
    """So that a thread of a test leaves no connection behind."""
    connections.close_all()
