"""Row 10: a provider that refuses, hangs, drips or answers with an error, end to end.

Each class of fault is tested by itself in `tests/providers`; here a whole analysis meets it over a
real socket. No conversation may be lost, the class on the page must be right, no cost negative, and
nothing that is no answer may be kept as one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web

from analyses.models import AnalysisSession, SessionStatus
from projects.models import Dataset
from providers.models import CallState, LlmCall, ModelDeployment, Provider
from tests.analyses.worker.support import run
from tests.faults.bad_provider import (
    SIZE,
    BadServer,
    black_hole,
    check,
    classes,
    drip,
    hasty,
    meets,
    remote,
    resumes,
    said,
    server,
)
from tests.faults.support import told_by_page

__all__ = ["hasty", "meets", "remote", "server"]


pytestmark = pytest.mark.django_db(transaction=True)


def dropped(request: web.Request, answer: Any) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


SOON = format_datetime(datetime.now(UTC) + timedelta(seconds=1), usegmt=True)


LATE = format_datetime(datetime.now(UTC) + timedelta(hours=3), usegmt=True)


WAITS = [
    ("black hole", black_hole, "timeout", "provider"),
    ("a byte a time", drip, "timeout", "provider"),
    ("dropped", dropped, "network", "provider"),
    ("500", lambda *_: said(500), "server", "provider"),
    ("503", lambda *_: said(503), "server", "provider"),
    ("529", lambda *_: said(529), "server", "provider"),
    ("429 for 1 s", lambda *_: said(429, "", {"Retry-After": "1"}), "rate_limit", "provider"),
    ("429 until soon", lambda *_: said(429, "", {"Retry-After": SOON}), "rate_limit", "provider"),
    ("429 for hours", lambda *_: said(429, "", {"Retry-After": LATE}), "rate_limit", "provider"),
    ("429 in ms", lambda *_: said(429, "", {"retry-after-ms": "20"}), "rate_limit", "provider"),
    (
        "429 with nonsense",
        lambda *_: said(429, "rate limit reached", {"Retry-After": "in a while"}),
        "rate_limit",
        "provider",
    ),
    (
        "429 for ever",
        lambda *_: said(429, "rate limit reached", {"Retry-After": "1000000000"}),
        "rate_limit",
        "provider",
    ),
    ("402", lambda *_: said(402), "quota", "quota"),
    ("401", lambda *_: said(401, "invalid_api_key"), "auth", "key"),
    ("403", lambda *_: said(403), "permission", "key"),
]


RESUMED = [row[1] for row in WAITS if row[0] in ("black hole", "500", "402", "401")]
"""One of each reason is watched until its end."""


@pytest.mark.parametrize(
    ("play", "error_class", "reason"),
    [row[1:] for row in WAITS],
    ids=[row[0] for row in WAITS],
)
def test_row_10_the_run_waits_and_goes_on(
    meets: Callable[..., AnalysisSession],
    server: BadServer,
    play: Callable[..., Any],
    error_class: str,
    reason: str,
) -> None:
    session = meets(play)
    assert (session.status, session.reason) == (SessionStatus.BLOCKED, reason), session.detail
    assert error_class in classes(session)
    assert session.failed_count == 0
    check(session)
    page = told_by_page(session)
    assert "What was read is saved." in page
    assert "Scripted" in page  # the provider by its name
    if play in RESUMED:
        resumes(session, server)


def test_row_10_a_refused_connection_is_not_counted_as_sent(
    talks: Callable[..., Dataset], start: Callable[..., AnalysisSession], remote: ModelDeployment
) -> None:
    Provider.objects.update(base_url="http://127.0.0.1:9/v1")
    remote.refresh_from_db()
    session = run(start(talks(SIZE), chat=remote))
    assert (session.status, session.reason) == (SessionStatus.BLOCKED, "provider")
    assert classes(session) == {"network"}
    assert not LlmCall.objects.filter(state__in=(CallState.SENT, CallState.DOUBT)).exists()
    assert session.cost == 0
    assert "does not answer" in told_by_page(session)


def test_row_10_a_storm_of_400_stops_to_ask_and_does_not_eat_the_data(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    remote: ModelDeployment,
    server: BadServer,
) -> None:
    server.sound = 5
    server.play = lambda *_: said(400)
    session = run(start(talks(120), chat=remote))
    assert session.status == SessionStatus.BLOCKED, (session.status, session.failed_count)
    assert session.reason in ("too_many_errors", "provider")
    assert session.failed_count < 120
    assert told_by_page(session)
    assert not LlmCall.objects.filter(cost__lt=0).exists()
