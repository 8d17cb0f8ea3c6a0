"""Dead workers: what is taken back, how it is told, and how a poisoned conversation is found."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import User
from analyses import services
from analyses.models import AnalysisSession, Batch, Outcome, SessionStatus
from analyses.runner.claims import Claims
from analyses.runner.stages import HANDLERS
from analyses.services.advance import given_back
from analyses.services.sessions import claimable
from core import work
from core.events import since
from core.heartbeat import Heartbeat
from core.models import WorkStatus
from providers.models import CallState, LlmCall
from tests.analyses.support import ME, claim, kinds
from tests.analyses.test_batches import prepared


def expire(session: AnalysisSession) -> None:
    session.batches.filter(status=WorkStatus.LEASED).update(
        lease_until=timezone.now() - timedelta(seconds=1)
    )


def die(session: AnalysisSession, **only: Any) -> Batch:
    """A worker claims and dies; the tick notices."""
    batch = claim(session, **only)
    expire(session)
    services.tick()
    session.refresh_from_db()
    return batch


def read(batch: Batch) -> None:
    """Read a range as the worker does."""

    def write(session: AnalysisSession) -> None:
        inside = session.items.filter(position__gte=batch.first, position__lt=batch.last)
        inside.filter(outcome=Outcome.WAITING).update(outcome=Outcome.READ)

    services.saved(batch, write, done=batch.last - batch.first)


def notices(session: AnalysisSession) -> list[dict[str, Any]]:
    return [row["payload"] for row in since(session.topic, 0) if row["kind"] == "recovery"]


def test_a_recovery_says_what_is_kept_repeated_and_in_doubt(
    start: Callable[..., AnalysisSession],
) -> None:
    session = start()
    prepared(session)
    read(claim(session, stage="facets", first=0))
    call = {
        "workspace": session.project.workspace,
        "analysis_id": session.pk,
        "purpose": "facets",
        "provider": "p",
        "model": "m",
        "owner": ME,
        "sent_at": timezone.now(),
        "sent_until": timezone.now() + timedelta(minutes=1),
    }
    LlmCall.objects.create(**call, fingerprint="a", state=CallState.SENT, reserved=Decimal("0.002"))
    LlmCall.objects.create(**call, fingerprint="b", state=CallState.OK, cost=Decimal("0.001"))
    LlmCall.objects.create(**{**call, "owner": "x:1:1"}, fingerprint="c", state=CallState.SENT)
    die(session, stage="facets")
    assert session.recoveries == 1
    told = dict(session.recovery)
    assert timezone.now() - timezone.datetime.fromisoformat(told.pop("at")) < timedelta(seconds=20)
    assert Decimal(told.pop("doubt_cost")) == Decimal("0.002")
    assert told == {
        "kept_batches": 1,
        "kept_conversations": 10,
        "repeated_batches": 1,
        "repeated_conversations": 2,
        "doubt_calls": 1,
        "text": "A worker stopped. 10 conversations kept. 2 conversations are taken up again. "
        "1 call cut off on the way may be paid twice, at most $0.01.",
    }
    (notice,) = notices(session)
    assert notice["text"] == told["text"]


def test_without_calls_in_flight_nothing_is_paid_twice(
    start: Callable[..., AnalysisSession],
) -> None:
    session = start()
    die(session)
    assert session.recovery["repeated_conversations"] == 10
    assert "Nothing is paid twice." in session.recovery["text"]
    services.tick()
    session.refresh_from_db()
    assert session.recoveries == 1


def test_dead_leases_are_taken_back_whatever_the_analysis_does(
    start: Callable[..., AnalysisSession], analyst: User
) -> None:
    """A run whose worker died must not stay "pausing" or "stopping" for ever."""
    for wish, end in ((services.pause, "paused"), (services.cancel, "cancelled")):
        session = start()
        claim(session)
        wish(actor=analyst, session=session)
        expire(session)
        services.tick()
        session.refresh_from_db()
        assert (session.status, session.recoveries) == (end, 1)
    blocked = start()
    claim(blocked)
    services.block(blocked.pk, "auth", "no")
    expire(blocked)
    services.tick()
    assert not blocked.batches.filter(status=WorkStatus.LEASED).exists()
    failed = start()
    claim(failed)
    AnalysisSession.objects.filter(pk=failed.pk).update(status=SessionStatus.FAILED)
    expire(failed)
    services.tick()
    assert not failed.batches.filter(status=WorkStatus.LEASED).exists()


def test_one_broken_analysis_does_not_hold_up_the_others(
    start: Callable[..., AnalysisSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = start(), start()
    for session in (first, second):
        claim(session)
        expire(session)
    note = services.recovery.note

    def breaks(session: AnalysisSession, taken: Any) -> None:
        if session.pk == first.pk:
            raise ValueError("a row nobody expected")
        note(session, taken)

    monkeypatch.setattr("analyses.services.recovery.note", breaks)
    services.tick()
    assert first.batches.filter(status=WorkStatus.LEASED).exists()
    assert not second.batches.filter(status=WorkStatus.LEASED).exists()


@pytest.mark.parametrize("stage", ["prepare", "facets"])
@pytest.mark.parametrize("poisoned", [0, 6, 11])
@pytest.mark.parametrize("first", [True, False])
def test_a_conversation_that_kills_workers_is_found_and_the_rest_is_read(
    start: Callable[..., AnalysisSession], stage: str, poisoned: int, first: bool
) -> None:
    """Whatever holds it dies; halves are tried until it is alone."""
    session = start()
    if stage == "facets":
        prepared(session)
    deaths, done = 0, 0
    while True:
        waiting = claimable().filter(session=session, stage__in=("prepare", "facets"))
        poison = {"first__lte": poisoned, "last__gt": poisoned, "stage": stage}
        bad = waiting.filter(**poison).first()
        good = waiting.exclude(**poison).order_by("pk").first()
        if bad is not None and (first or good is None):
            die(session, pk=bad.pk)
            deaths += 1
        elif good is not None:
            batch = claim(session, pk=good.pk)
            if batch.stage == "prepare":
                prepare(batch)
            else:
                read(batch)
                done += batch.last - batch.first
        else:
            break
    session.refresh_from_db()
    assert (session.read_count, session.failed_count, done) == (11, 1, 11)
    failed = session.items.get(outcome=Outcome.FAILED)
    assert (failed.position, failed.error_class) == (poisoned, "worker")
    assert session.items.count() == 12
    for key in ("prepare", "facets"):
        row = session.stages.get(key=key)
        assert (row.batches_done, row.items_done) == (row.batches_total, 12), key
        assert row.finished_at is not None, key
    assert session.stages.get(key="embed").opened
    assert session.status == SessionStatus.RUNNING
    assert deaths <= 3 + 4
    texts = [row["payload"].get("text", "") for row in since(session.topic, 0)]
    assert any(text.startswith(f"Conversation {poisoned + 1} (") for text in texts)
    assert session.recoveries == deaths


def prepare(batch: Batch) -> None:
    def write(session: AnalysisSession) -> None:
        pairs = session.dataset.conversations.filter(
            position__gte=batch.first, position__lt=batch.last
        )
        session.items.bulk_create(
            session.items.model(session=session, conversation=one, position=one.position)
            for one in pairs
        )
        Batch.objects.create(
            session=session, stage="facets", seq=batch.seq, first=batch.first, last=batch.last
        )

    services.saved(batch, write, done=batch.last - batch.first)


@pytest.fixture
def claims() -> Claims:
    return Claims(
        ME,
        Heartbeat(lambda item: None),
        session_id=None,
        skip=frozenset(),
        known=frozenset(HANDLERS),
    )


def test_a_suspect_is_claimed_by_who_holds_nothing_else(
    start: Callable[..., AnalysisSession], claims: Claims
) -> None:
    session = start()
    prepared(session)
    suspect = session.batches.filter(stage="facets").order_by("pk").first()
    assert suspect is not None
    for _ in range(2):
        die(session, pk=suspect.pk)
    beside = claims.take_range([], False)
    assert beside is not None
    assert beside[1].pk != suspect.pk
    assert claims.take_range([], False) is None
    alone = claims.take_range([], True)
    assert alone is not None
    assert (alone[1].pk, alone[1].attempt) == (suspect.pk, 3)


def test_work_of_stages_and_versions_that_are_unknown_here_is_left_alone(
    start: Callable[..., AnalysisSession], claims: Claims
) -> None:
    """An old worker beside a new web process."""
    session = start()
    session.batches.all().delete()
    Batch.objects.create(session=session, stage="translate", seq=0)
    assert claims.take_heavy(False, True) is None
    Batch.objects.create(session=session, stage="prepare", seq=0, last=10)
    AnalysisSession.objects.filter(pk=session.pk).update(pipeline_version="99")
    assert claims.take_heavy(False, True) is None
    AnalysisSession.objects.filter(pk=session.pk).update(pipeline_version="1")
    taken = claims.take_heavy(False, True)
    assert taken is not None
    assert taken[1].stage == "prepare"
    session.batches.filter(stage="translate").update(
        status=WorkStatus.LEASED, attempt=3, lease_until=timezone.now() - timedelta(seconds=1)
    )
    services.tick()
    session.refresh_from_db()
    assert session.status == SessionStatus.RUNNING
    assert session.batches.get(stage="translate").status == WorkStatus.QUARANTINED
    assert "recovery" in kinds(session)


def test_a_claim_and_a_pause_see_each_other(
    start: Callable[..., AnalysisSession], analyst: User, claims: Claims
) -> None:
    session = start()
    services.pause(actor=analyst, session=session)
    assert claims.take_heavy(False, True) is None
    services.resume(actor=analyst, session=session)
    assert claims.take_heavy(False, True) is not None
    assert services.pause(actor=analyst, session=session).status == SessionStatus.PAUSING


def test_the_tick_leaves_what_rests_alone(
    start: Callable[..., AnalysisSession],
    analyst: User,
    django_assert_max_num_queries: Any,
) -> None:
    for _ in range(5):
        services.pause(actor=analyst, session=start())
    work.owner_name()
    # Two of them look for work that waits at providers.
    with django_assert_max_num_queries(8):
        assert services.tick() == 5


@pytest.mark.django_db(transaction=True)
def test_no_claim_slips_past_a_pause(start: Callable[..., AnalysisSession], analyst: User) -> None:
    """Both decide at the same moment; "paused" beside a batch that is being paid for is a lie."""
    session = start()
    barrier = threading.Barrier(2, timeout=20)
    rounds = 12

    def take() -> None:
        claims = Claims(
            "elsewhere:1:1",
            Heartbeat(lambda item: None),
            session_id=session.pk,
            skip=frozenset(),
            known=frozenset(HANDLERS),
        )
        try:
            for _ in range(rounds):
                barrier.wait()
                taken = claims.take_heavy(False, True)
                barrier.wait()
                barrier.wait()
                if taken:
                    given_back(taken[1])
        finally:
            connection.close()

    thread = threading.Thread(target=take)
    thread.start()
    for _ in range(rounds):
        services.resume(actor=analyst, session=session)
        barrier.wait()
        services.pause(actor=analyst, session=session)
        barrier.wait()
        status = AnalysisSession.objects.get(pk=session.pk).status
        held = session.batches.filter(status=WorkStatus.LEASED).exists()
        barrier.wait()
        assert status == (SessionStatus.PAUSING if held else SessionStatus.PAUSED)
    thread.join(20)
    assert not thread.is_alive()
