"""Pausing, resuming and stopping analyses, in every state."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise

import pytest
from django.utils import timezone

from accounts.models import AuditEvent, User
from analyses import services, states
from analyses.models import (
    AnalysisSession,
    Batch,
    Desired,
    SessionStatus,
)
from analyses.services.advance import given_back
from analyses.services.sessions import claimable
from core import work
from core.errors import Conflict, Forbidden, NotFound
from core.models import WorkStatus
from tests.analyses.support import claim, statuses

ME = work.owner_name()


WISHES = {"pause": services.pause, "resume": services.resume, "cancel": services.cancel}
NO = "Conflict"
ANY = {
    # from: (pause, resume, cancel), without and with a batch in somebody's hands
    SessionStatus.QUEUED: (
        ("paused", "running", "cancelled"),
        ("pausing", "running", "cancelling"),
    ),
    SessionStatus.RUNNING: (
        ("paused", "running", "cancelled"),
        ("pausing", "running", "cancelling"),
    ),
    SessionStatus.PAUSING: (
        ("paused", "running", "cancelled"),
        ("pausing", "running", "cancelling"),
    ),
    SessionStatus.PAUSED: (
        ("paused", "running", "cancelled"),
        ("paused", "running", "paused"),
    ),
    SessionStatus.BLOCKED: (
        ("paused", "running", "cancelled"),
        ("pausing", "running", "cancelling"),
    ),
    SessionStatus.CANCELLING: ((NO, NO, "cancelled"), (NO, NO, "cancelling")),
    SessionStatus.CANCELLED: ((NO, NO, NO), (NO, NO, NO)),
    SessionStatus.COMPLETED: ((NO, NO, NO), (NO, NO, NO)),
    SessionStatus.PARTIAL: ((NO, NO, NO), (NO, NO, NO)),
    SessionStatus.FAILED: ((NO, "running", NO), (NO, "running", NO)),
}
DESIRED = {
    SessionStatus.PAUSING: Desired.PAUSE,
    SessionStatus.PAUSED: Desired.PAUSE,
    SessionStatus.CANCELLING: Desired.CANCEL,
    SessionStatus.CANCELLED: Desired.CANCEL,
}
EDGES = [
    (status, wish, leased, ANY[status][leased][place])
    for status in SessionStatus.values
    for place, wish in enumerate(WISHES)
    for leased in (False, True)
]


@pytest.mark.parametrize(("status", "wish", "leased", "expected"), EDGES)
def test_every_wish_in_every_state(
    start: Callable[..., AnalysisSession],
    analyst: User,
    status: SessionStatus,
    wish: str,
    leased: bool,
    expected: str,
) -> None:
    session = start()
    if leased:
        claim(session)
    AnalysisSession.objects.filter(pk=session.pk).update(
        status=status, desired=DESIRED.get(status, Desired.RUN)
    )
    before = AnalysisSession.objects.values().get(pk=session.pk)
    audits = AuditEvent.objects.count()
    if expected == NO:
        with pytest.raises(Conflict) as refused:
            WISHES[wish](actor=analyst, session=session)
        assert refused.value.data["state"] == status
        assert refused.value.data["word"] == SessionStatus(status).label
        assert AnalysisSession.objects.values().get(pk=session.pk) == before
        assert AuditEvent.objects.count() == audits
        return
    row = WISHES[wish](actor=analyst, session=session)
    session.refresh_from_db()
    assert row.status == session.status == expected
    assert AuditEvent.objects.count() == audits + 1
    assert (session.finished_at is not None) == (expected == "cancelled")


def test_wishes_need_a_role(
    start: Callable[..., AnalysisSession], viewer: User, other_owner: User
) -> None:
    session = start()
    for wish in WISHES.values():
        with pytest.raises(Forbidden):
            wish(actor=viewer, session=session)
        with pytest.raises(NotFound):
            wish(actor=other_owner, session=session)


def test_a_pause_ends_when_what_is_held_was_given_back(
    start: Callable[..., AnalysisSession], analyst: User
) -> None:
    session = start()
    batch = claim(session)
    assert services.pause(actor=analyst, session=session).status == SessionStatus.PAUSING
    assert not claimable().filter(session=session).exists()
    work.release(batch)
    services.tick()
    session.refresh_from_db()
    assert session.status == SessionStatus.PAUSED
    assert not claimable().exists()
    services.resume(actor=analyst, session=session)
    assert claimable().count() == 2
    assert statuses(session) == ["running", "pausing", "paused", "queued", "running"]


def test_a_stop_ends_although_the_worker_died(
    start: Callable[..., AnalysisSession], analyst: User
) -> None:
    session = start()
    batch = claim(session)
    assert services.cancel(actor=analyst, session=session).status == SessionStatus.CANCELLING
    Batch.objects.filter(pk=batch.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    assert services.tick() == 1
    session.refresh_from_db()
    assert session.status == SessionStatus.CANCELLED
    assert set(session.batches.values_list("status", flat=True)) == {WorkStatus.CANCELLED}
    assert services.tick() == 0


def test_a_quick_pause_resume_pause_never_claims_to_be_paused(
    start: Callable[..., AnalysisSession], analyst: User
) -> None:
    session = start()
    claim(session)
    for wish, expected in (("pause", "pausing"), ("resume", "running"), ("pause", "pausing")):
        assert WISHES[wish](actor=analyst, session=session).status == expected


def test_a_block_stays_until_somebody_goes_on(
    start: Callable[..., AnalysisSession], analyst: User
) -> None:
    session = start()
    services.block(session.pk, "auth", "The key is wrong.")
    services.tick()
    session.refresh_from_db()
    assert (session.status, session.reason, session.detail) == (
        "blocked",
        "key",
        "The key is wrong.",
    )
    assert not claimable().exists()
    services.resume(actor=analyst, session=session)
    session.refresh_from_db()
    assert (session.status, session.reason, session.detail) == ("running", "", "")
    services.cancel(actor=analyst, session=session)
    services.block(session.pk, "auth", "too late")
    session.refresh_from_db()
    assert session.status == SessionStatus.CANCELLED


@pytest.mark.parametrize("seed", range(12))
def test_many_clicks_from_two_tabs_end_as_the_last_one_says(
    start: Callable[..., AnalysisSession], analyst: User, seed: int
) -> None:
    """Fault 15: legal edges only, whatever workers and the tick do in between."""
    session, rng = start(), random.Random(seed)
    tabs = [AnalysisSession.objects.get(pk=session.pk) for _ in range(2)]  # never reloaded
    held: list[Batch] = []
    last = Desired.RUN
    for click in range(50):
        wish = rng.choice(["pause", "resume"] if click < 49 or seed % 2 else ["cancel"])
        WISHES[wish](actor=analyst, session=rng.choice(tabs))
        last = {"pause": Desired.PAUSE, "resume": Desired.RUN, "cancel": Desired.CANCEL}[wish]
        step = rng.randrange(4)
        if step == 0:
            batch = work.claim(claimable().filter(session=session).order_by("pk"), owner=ME)
            held += [batch] if batch else []
        elif step == 1 and held:
            given_back(held.pop(rng.randrange(len(held))))
        elif step == 2:
            services.tick()
    for batch in held:
        given_back(batch)
    services.tick()
    session.refresh_from_db()
    ends = {Desired.PAUSE: "paused", Desired.RUN: "running", Desired.CANCEL: "cancelled"}
    assert (session.desired, session.status) == (last, ends[last])
    told = ["queued", *statuses(session)]
    assert all(new in states.EDGES[old] for old, new in pairwise(told))


def test_giving_a_batch_back_ends_a_pause_at_once(
    start: Callable[..., AnalysisSession], analyst: User
) -> None:
    session = start()
    batch = claim(session)
    services.pause(actor=analyst, session=session)
    given_back(batch)
    session.refresh_from_db()
    assert session.status == SessionStatus.PAUSED
    assert session.batches.get(pk=batch.pk).attempt == 0
