"""Blocks: their reasons, how long they last, and what ends them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from analyses import plan, services
from analyses.models import (
    AnalysisItem,
    AnalysisSession,
    BlockReason,
    Outcome,
    SessionStatus,
)
from analyses.services import blocks
from analyses.services.sessions import claimable
from projects.models import Dataset, Project
from providers.gateway.errors import ErrorClass
from providers.models import Period
from providers.services import set_limit
from providers.services.books import Ledger
from tests.analyses.support import claim, statuses


def blocked(session: AnalysisSession, error_class: str) -> AnalysisSession:
    services.block(session.pk, error_class, "It said no.")
    session.refresh_from_db()
    return session


def due(session: AnalysisSession) -> AnalysisSession:
    """Let the time of a block pass, then look."""
    AnalysisSession.objects.filter(pk=session.pk).update(
        retry_at=timezone.now() - timedelta(seconds=1)
    )
    services.tick()
    session.refresh_from_db()
    return session


@pytest.mark.parametrize(
    ("error_class", "reason"),
    [
        ("auth", "key"),
        ("permission", "key"),
        ("not_found", "key"),
        ("quota", "quota"),
        ("budget", "budget"),
        ("network", "provider"),
        ("timeout", "provider"),
        ("server", "provider"),
        ("rate_limit", "provider"),
        ("disk", "disk"),
    ],
)
def test_every_class_of_error_has_its_reason(
    start: Callable[..., AnalysisSession], error_class: str, reason: str
) -> None:
    session = blocked(start(), error_class)
    assert (session.status, session.reason, session.detail) == ("blocked", reason, "It said no.")
    assert (session.retry_at is not None) == (reason != "key")
    assert not claimable().filter(session=session).exists()


def test_no_class_of_the_gateway_is_without_a_reason() -> None:
    assert {blocks.reason_of(str(one.value)) for one in ErrorClass} <= set(BlockReason)


@pytest.mark.parametrize("reason", ["provider", "quota", "disk"])
def test_a_block_heals_when_its_time_has_passed(
    start: Callable[..., AnalysisSession], reason: str
) -> None:
    session = blocked(start(), reason)
    services.tick()
    session.refresh_from_db()
    assert session.status == SessionStatus.BLOCKED
    assert due(session).status == SessionStatus.RUNNING
    assert (session.reason, session.detail, session.retry_at) == ("", "", None)
    assert statuses(session) == ["running", "blocked", "queued", "running"]
    assert claimable().filter(session=session).exists()


@pytest.mark.parametrize("reason", ["key", "too_many_errors"])
def test_some_blocks_need_a_person(
    start: Callable[..., AnalysisSession], analyst: User, reason: str
) -> None:
    session = blocked(start(), reason)
    assert due(session).status == SessionStatus.BLOCKED
    services.resume(actor=analyst, session=session)
    session.refresh_from_db()
    assert (session.status, session.blocks) == (SessionStatus.RUNNING, 0)


def test_blocks_in_a_row_wait_longer_until_a_batch_is_saved(
    start: Callable[..., AnalysisSession],
) -> None:
    session, waits = start(), []
    for _ in range(9):
        blocked(session, "network")
        assert session.retry_at is not None
        waits.append((session.retry_at - timezone.now()).total_seconds())
        due(session)
    ideal = [min(120.0, 10 * 1.5**k) for k in range(9)]
    for wait, expected in zip(waits, ideal, strict=True):
        assert expected * 0.9 - 2 <= wait <= expected * 1.1 + 1
    assert session.blocks == 9
    services.saved(claim(session), lambda row: None, done=10)
    session.refresh_from_db()
    assert session.blocks == 0


def test_quota_waits_from_a_minute_to_a_quarter_of_an_hour() -> None:
    waits = [blocks.wait_of("quota", count) for count in (0, 100)]
    assert waits[0] is not None
    assert waits[1] is not None
    assert 54 <= waits[0].total_seconds() <= 66
    assert 810 <= waits[1].total_seconds() <= 990


def test_a_full_disk_holds_until_there_is_room(
    start: Callable[..., AnalysisSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = start()
    free = [False]
    monkeypatch.setattr("core.disks.has_room", lambda *_, **__: free[0])
    services.tick()
    session.refresh_from_db()
    assert (session.status, session.reason) == (SessionStatus.BLOCKED, "disk")
    before = session.retry_at
    assert due(session).status == SessionStatus.BLOCKED
    assert session.retry_at is not None
    assert before is not None
    assert session.retry_at > timezone.now() + timedelta(seconds=5)
    free[0] = True
    assert due(session).status == SessionStatus.RUNNING


def test_a_budget_holds_until_the_limit_is_raised(
    start: Callable[..., AnalysisSession], project: Project, analyst: User
) -> None:
    session = start(spend_limit=Decimal("1.00"))
    scope = f"analysis:{session.pk}"
    limit: dict[str, Any] = {
        "actor": analyst,
        "workspace": project.workspace,
        "scope": scope,
        "period": Period.ALL,
    }
    ledger = Ledger(project.workspace_id)
    ledger.move([scope], timezone.now(), spent=Decimal("1.00"))
    ledger.save()
    blocked(session, "budget")
    assert due(session).status == SessionStatus.BLOCKED
    set_limit(amount=Decimal("2.00"), **limit)
    assert due(session).status == SessionStatus.RUNNING


def test_a_foreign_version_waits_for_the_program_that_knows_it(
    start: Callable[..., AnalysisSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = start()
    AnalysisSession.objects.filter(pk=session.pk).update(pipeline_version="2")
    assert not claimable().filter(session=session).exists()
    services.tick()
    session.refresh_from_db()
    assert (session.status, session.reason) == (SessionStatus.BLOCKED, "upgrade")
    assert due(session).status == SessionStatus.BLOCKED
    monkeypatch.setattr(plan, "KNOWN_VERSIONS", frozenset({"1", "2"}))
    assert due(session).status == SessionStatus.RUNNING
    assert claimable().filter(session=session).exists()


def test_a_block_while_pausing_or_stopping_changes_nothing(
    start: Callable[..., AnalysisSession], analyst: User
) -> None:
    for wish, expected in ((services.pause, "pausing"), (services.cancel, "cancelling")):
        session = start()
        claim(session)
        wish(actor=analyst, session=session)
        assert blocked(session, "network").status == expected


def test_a_pause_of_a_blocked_analysis_waits_for_calls_in_flight(
    start: Callable[..., AnalysisSession], analyst: User
) -> None:
    session = start()
    batch = claim(session)
    blocked(session, "auth")
    assert services.pause(actor=analyst, session=session).status == SessionStatus.PAUSING
    services.saved(batch, lambda row: None, done=10)
    session.refresh_from_db()
    assert session.status == SessionStatus.PAUSED


@pytest.fixture
def failing(db: None) -> Callable[[AnalysisSession, int], AnalysisSession]:
    """``failing(session, n)``: so many more conversations fail."""

    def fail(session: AnalysisSession, count: int) -> AnalysisSession:
        known = session.items.count()
        rows = session.dataset.conversations.order_by("position")[known : known + count]
        AnalysisItem.objects.bulk_create(
            AnalysisItem(
                session=session,
                conversation=row,
                position=row.position,
                outcome=Outcome.FAILED,
                error_class="bad_answer",
            )
            for row in rows
        )
        AnalysisSession.objects.filter(pk=session.pk).update(
            failed_count=session.failed_count + count
        )
        services.tick()
        session.refresh_from_db()
        return session

    return fail


def test_too_many_errors_stop_and_a_person_may_go_on_until_as_many_more(
    project: Project,
    make_dataset: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    analyst: User,
    failing: Callable[[AnalysisSession, int], AnalysisSession],
) -> None:
    session = start(dataset=make_dataset(project, size=200))
    AnalysisSession.objects.filter(pk=session.pk).update(read_count=100)
    session.refresh_from_db()
    assert failing(session, 19).status == SessionStatus.RUNNING
    assert failing(session, 1).status == SessionStatus.BLOCKED
    assert session.reason == BlockReason.ERRORS
    assert "20 of 120" in session.detail
    services.resume(actor=analyst, session=session)
    session.refresh_from_db()
    assert (session.status, session.errors_allowed) == (SessionStatus.RUNNING, 20)
    assert failing(session, 19).status == SessionStatus.RUNNING
    assert failing(session, 1).status == SessionStatus.BLOCKED


def test_few_errors_among_many_stop_nothing(
    project: Project,
    make_dataset: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    failing: Callable[[AnalysisSession, int], AnalysisSession],
) -> None:
    session = start(dataset=make_dataset(project, size=60))
    AnalysisSession.objects.filter(pk=session.pk).update(read_count=500)
    session.refresh_from_db()
    assert failing(session, 26).status == SessionStatus.RUNNING
    assert failing(session, 1).status == SessionStatus.BLOCKED


@pytest.mark.parametrize(
    ("said", "waits"), [(7.0, 7.0), (0.2, 1.0), (900.0, 120.0), (float("inf"), 120.0)]
)
def test_a_provider_is_left_alone_just_as_long_as_the_gateway_says(
    start: Callable[..., AnalysisSession], said: float, waits: float
) -> None:
    session = start()
    before = timezone.now()
    services.block(session.pk, "server", "It said no.", said)
    session.refresh_from_db()
    assert session.retry_at is not None
    assert abs((session.retry_at - before).total_seconds() - waits) < 0.9


def test_a_time_that_was_told_changes_no_other_wait(start: Callable[..., AnalysisSession]) -> None:
    session = start()
    services.block(session.pk, "auth", "The key is wrong.", 5.0)
    session.refresh_from_db()
    assert (session.reason, session.retry_at) == ("key", None)
