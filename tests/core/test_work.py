"""Leased work: one holder at a time, whoever dies, whatever the host's clock says."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import psutil
import pytest
from django.db import connection, transaction
from django.utils import timezone

from core import work
from core.heartbeat import Heartbeat
from core.models import WorkStatus
from core.work import LeaseLost
from projects.models import Dataset, Import

ME = work.owner_name()


@pytest.fixture
def add(dataset: Dataset) -> Callable[..., Import]:
    """``add(**fields)``: a waiting piece of work."""
    Import.objects.all().delete()

    def make(**fields: Any) -> Import:
        return Import.objects.create(dataset=dataset, file="uploads/x", filename="x", **fields)

    return make


def claim(owner: str = ME) -> Import | None:
    return work.claim(Import.objects.order_by("pk"), owner=owner)


def held(owner: str = ME) -> Import:
    found = claim(owner)
    assert found is not None
    return found


def expire(item: Import) -> None:
    Import.objects.filter(pk=item.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def test_claim_gives_fence_attempt_owner_and_lease(add: Callable[..., Import]) -> None:
    add()
    first = held("somewhere:1:1")
    assert (first.status, first.fence, first.attempt) == (WorkStatus.LEASED, 1, 1)
    assert first.owner == "somewhere:1:1"
    left = first.lease_until - timezone.now()
    assert timedelta(seconds=28) < left <= work.LEASE + timedelta(seconds=1)
    assert claim() is None


def test_claim_takes_the_first_in_order_and_nothing_that_must_wait(
    add: Callable[..., Import],
) -> None:
    add(not_before=timezone.now() + timedelta(minutes=1))
    second, third = add(not_before=timezone.now() - timedelta(minutes=1)), add()
    assert [held().pk, held().pk] == [second.pk, third.pk]
    assert claim() is None


@pytest.mark.django_db(transaction=True)
def test_claim_is_exclusive_between_threads(add: Callable[..., Import]) -> None:
    for _ in range(12):
        add()
    barrier = threading.Barrier(2)
    taken: list[list[tuple[int, int]]] = [[], []]

    def take(mine: list[tuple[int, int]]) -> None:
        try:
            barrier.wait(5)
            misses = 0
            while misses < 3:
                found = claim(f"host:{threading.get_ident()}:1")
                misses = 0 if found else misses + 1
                if found:
                    mine.append((found.pk, found.fence))
        finally:
            connection.close()

    threads = [threading.Thread(target=take, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    everything = taken[0] + taken[1]
    assert len(everything) == len(set(everything)) == 12
    assert {fence for _, fence in everything} == {1}
    assert set(Import.objects.values_list("attempt", flat=True)) == {1}


def test_renew_prolongs_what_is_held_and_names_what_is_lost(add: Callable[..., Import]) -> None:
    add()
    add()
    mine, other = held(), held()
    soon = timezone.now() + timedelta(seconds=3)
    Import.objects.update(lease_until=soon)
    lost = work.renew(Import, {mine.pk: mine.fence, other.pk: other.fence - 1})
    assert lost == {other.pk}
    mine.refresh_from_db()
    other.refresh_from_db()
    assert mine.lease_until > soon + timedelta(seconds=20)
    assert other.lease_until == soon


def test_finish_with_a_stale_fence_takes_everything_back(add: Callable[..., Import]) -> None:
    add()
    zombie = held()
    expire(zombie)
    assert [row.pk for row in work.reap(Import.objects.all())] == [zombie.pk]
    heir = held("somewhere:2:2")

    def write() -> None:
        Dataset.objects.filter(pk=zombie.dataset_id).update(name="written by a zombie")
        work.finish(zombie)

    with pytest.raises(LeaseLost):
        transaction.atomic(write)()
    assert not Dataset.objects.filter(name="written by a zombie").exists()
    heir.refresh_from_db()
    assert (heir.status, heir.fence) == (WorkStatus.LEASED, 3)
    for leave in (lambda: work.release(zombie), lambda: work.fail(zombie, "late")):
        with pytest.raises(LeaseLost):
            leave()


def test_finish_ends_the_lease_and_takes_values(add: Callable[..., Import]) -> None:
    add(error="an earlier one")
    item = held()
    work.finish(item, accepted=7)
    item.refresh_from_db()
    assert (item.status, item.accepted, item.owner, item.lease_until, item.error) == (
        WorkStatus.DONE,
        7,
        "",
        None,
        "",
    )
    assert abs(timezone.now() - item.finished_at) < timedelta(seconds=5)
    with pytest.raises(LeaseLost):
        work.finish(item)


def test_release_gives_the_attempt_back_but_never_the_fence(add: Callable[..., Import]) -> None:
    add()
    for turn in range(1, 6):
        item = held()
        assert (item.fence, item.attempt) == (turn, 1)
        work.release(item)
    item = held()
    work.release(item, wait=timedelta(minutes=1))
    assert claim() is None


def test_three_failures_set_work_aside(add: Callable[..., Import]) -> None:
    add()
    for spent in (False, False, True):
        item = held()
        assert work.fail(item, "broken " * 1000) is spent
        Import.objects.update(not_before=None)
    item.refresh_from_db()
    assert (item.status, item.attempt, len(item.error)) == (WorkStatus.QUARANTINED, 3, 2000)
    assert claim() is None


def test_a_failure_waits_before_the_next_try(add: Callable[..., Import]) -> None:
    add()
    work.fail(held(), "broken")
    assert claim() is None
    Import.objects.update(not_before=timezone.now() - timedelta(seconds=1))
    assert held().attempt == 2


def test_reap_takes_expired_leases_and_sets_aside_after_three(add: Callable[..., Import]) -> None:
    add()
    fences = []
    for attempt in (1, 2, 3):
        item = held("elsewhere:1:1")
        assert item.attempt == attempt
        assert work.reap(Import.objects.all()) == []
        expire(item)
        (back,) = work.reap(Import.objects.all())
        fences.append(back.fence)
    assert fences == [2, 4, 6]
    assert (back.status, back.error) == (WorkStatus.QUARANTINED, "The worker stopped 3 times.")
    assert work.reap(Import.objects.all()) == []


def test_work_that_may_die_more_often_waits_longer_each_time(add: Callable[..., Import]) -> None:
    waits = [work.wait_after(attempt) for attempt in range(1, 8)]
    seconds = [wait.total_seconds() if wait else 0 for wait in waits]
    assert seconds == [0, 0, 2, 4, 8, 10, 10]
    add()
    for attempt in range(1, 6):
        item = held("elsewhere:1:1")
        assert item.attempt == attempt
        expire(item)
        (back,) = work.reap(Import.objects.all(), tries=lambda row: 5)
        assert (back.not_before is not None) is (attempt in {3, 4})
        Import.objects.update(not_before=None)
    assert back.status == WorkStatus.QUARANTINED


def test_a_fault_weighs_as_much_as_a_third_of_the_deaths(add: Callable[..., Import]) -> None:
    add()
    for attempt, spent in ((3, False), (6, False), (9, True)):
        item = held()
        assert work.fail(item, "broken", tries=8) is spent
        Import.objects.update(not_before=None)
        item.refresh_from_db()
        assert item.attempt == attempt


def test_reap_takes_at_once_what_a_dead_process_of_this_host_held(
    add: Callable[..., Import],
) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = int(psutil.Process(child.pid).create_time() * 100)
    owner = ME.rsplit(":", 2)[0] + f":{child.pid}:{started}"
    add()
    held(owner)
    assert not work.owner_is_dead(owner)
    assert work.reap(Import.objects.all()) == []
    child.kill()
    # Not waited for, it is a zombie first: that counts as dead as well.
    psutil.wait_procs([psutil.Process(child.pid)], timeout=0.3)
    assert work.owner_is_dead(owner)
    child.wait()
    assert work.owner_is_dead(owner)
    (back,) = work.reap(Import.objects.all())
    assert back.status == WorkStatus.PENDING


def test_a_reused_process_number_is_another_owner(add: Callable[..., Import]) -> None:
    host = ME.rsplit(":", 2)[0]
    assert not work.owner_is_dead(ME)
    assert work.owner_is_dead(f"{host}:{os.getpid()}:1")
    for unknown in ("elsewhere:1:1", "", "no colons", f"{host}:x:1"):
        assert not work.owner_is_dead(unknown)


def test_the_hosts_clock_decides_nothing(add: Callable[..., Import]) -> None:
    add()
    wrong = datetime(2001, 1, 1, tzinfo=UTC)
    with mock.patch("django.utils.timezone.now", return_value=wrong):
        item = held()
        assert work.reap(Import.objects.all()) == []
        assert work.renew(Import, {item.pk: item.fence}) == set()
    item.refresh_from_db()
    assert item.lease_until > timezone.now()
    with mock.patch("django.utils.timezone.now", return_value=datetime(2101, 1, 1, tzinfo=UTC)):
        assert work.reap(Import.objects.all()) == []


@pytest.mark.django_db(transaction=True)
def test_heartbeat_renews_until_dropped_and_reports_a_loss_once(
    add: Callable[..., Import], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "RENEW_EVERY", 0.05)
    add()
    add()
    kept, taken = held(), held()
    lost: list[int] = []
    heard = threading.Event()

    def hear(item: Any) -> None:
        lost.append(item.pk)
        heard.set()

    heart = Heartbeat(hear)
    soon = timezone.now() + timedelta(seconds=3)
    Import.objects.update(lease_until=soon)
    heart.hold(kept)
    heart.hold(taken)
    Import.objects.filter(pk=taken.pk).update(fence=taken.fence + 1)
    heart.start()
    try:
        assert heard.wait(5)
        heart._stop.wait(0.2)
        kept.refresh_from_db()
        assert kept.lease_until > soon + timedelta(seconds=20)
        assert heart.safe
    finally:
        heart.stop()
    assert lost == [taken.pk]


@pytest.mark.django_db(transaction=True)
def test_heartbeat_outlives_a_database_that_is_away(
    add: Callable[..., Import], monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.db import InterfaceError, OperationalError

    monkeypatch.setattr(work, "RENEW_EVERY", 0.02)
    add()
    item = held()
    calls: list[int] = []
    real = work.renew

    def shaky(model: Any, fences: dict[int, int]) -> set[int]:
        calls.append(1)
        if len(calls) <= 2:
            raise (OperationalError, InterfaceError)[len(calls) - 1]("away")
        return real(model, fences)

    monkeypatch.setattr(work, "renew", shaky)
    heart = Heartbeat(lambda lost: None)
    heart.hold(item)
    heart.start()
    try:
        for _ in range(200):
            if len(calls) > 3:
                break
            heart._stop.wait(0.02)
    finally:
        heart.stop()
    assert len(calls) > 3


def test_a_holder_without_renewal_is_not_safe(
    add: Callable[..., Import], monkeypatch: pytest.MonkeyPatch
) -> None:
    add()
    heart = Heartbeat(lambda lost: None)
    assert heart.safe
    heart.hold(held())
    assert heart.safe
    monkeypatch.setattr("core.heartbeat.SELF_FENCE_SECONDS", 0.0)
    assert not heart.safe
