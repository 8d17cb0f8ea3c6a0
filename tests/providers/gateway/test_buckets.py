"""Limits a minute: kept for every minute, used to the full, shared without a remainder."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.gateway.buckets import MINUTE, Bucket

Taken = list[tuple[float, float]]

calls = st.lists(st.tuples(st.floats(0, 20), st.integers(1, 60), st.floats(0, 1)), max_size=120)


def most_in_a_minute(taken: Taken) -> float:
    """The most that any 60 seconds hold."""
    starts = [at for at, _ in taken]
    sums = (sum(one for at, one in taken if start <= at < start + MINUTE) for start in starts)
    return max(sums, default=0.0)


def admitted(bucket: Bucket, amount: float, now: float, *, interactive: bool = False) -> float:
    """When so much is let through; it must not take for ever."""
    for _ in range(1000):
        wait = bucket.wait(amount, now, interactive=interactive)
        assert 0 <= wait <= MINUTE + 1
        if wait == 0:
            bucket.take(amount, now)
            return now
        now += wait
    raise AssertionError("never let through")


@given(st.integers(60, 600), calls)
def test_no_minute_holds_more_than_the_limit(
    limit: int, asked: Sequence[tuple[float, int, float]]
) -> None:
    """Whatever is asked when, and however much less than estimated each call then takes."""
    bucket, now, taken = Bucket(limit), 0.0, []
    for after, amount, part in asked:
        now = admitted(bucket, amount, now + after)
        bucket.correct(amount, part * amount, now)
        taken.append((now, part * amount))
    assert most_in_a_minute(taken) <= limit + 1e-3


@given(st.integers(60, 600), calls, st.integers(1, 8))
def test_what_is_out_may_be_more_than_estimated_by_itself_alone(
    limit: int, asked: Sequence[tuple[float, int, float]], out: int
) -> None:
    """Calls that turn out larger go over by what was out when that showed, and by no more."""
    bucket, now, taken = Bucket(limit), 0.0, []
    open_calls: list[tuple[float, int]] = []
    for after, amount, _ in asked:
        now = admitted(bucket, amount, now + after)
        taken.append((now, 2.0 * amount))
        open_calls.append((now, amount))
        if len(open_calls) >= out:
            at, first = open_calls.pop(0)
            bucket.correct(first, 2 * first, at)
    assert most_in_a_minute(taken) <= limit + out * 60 * 2


@pytest.mark.parametrize("limit", [1, 3, 60, 600, 30_000])
def test_a_limit_is_used_to_the_full(limit: int) -> None:
    bucket, now, count = Bucket(limit), 0.0, 0
    amount = max(1, limit // 50)
    while now < 10 * MINUTE:
        now = admitted(bucket, amount, now, interactive=True)
        count += amount
    assert count >= 0.9 * 10 * limit


def test_calls_are_spread_over_the_minute() -> None:
    """Servers count over shorter spans than the minute they speak of."""
    bucket, now = Bucket(60), 0.0
    times = []
    for _ in range(60):
        now = admitted(bucket, 1, now, interactive=True)
        times.append(now)
    assert times[9] == 0.0
    assert times[10] > 0.5
    assert all(later - earlier < 2.0 for earlier, later in pairwise(times[10:]))


def test_a_tenth_is_kept_for_who_waits() -> None:
    bucket = Bucket(60)
    while bucket.wait(1, 0.0) == 0:
        bucket.take(1, 0.0)
    assert bucket.wait(1, 0.0, interactive=True) == 0
    used, now = Bucket(60), 0.0
    while now < MINUTE:
        now = admitted(used, 1, now)
    assert used.used(MINUTE - 1) <= 54


def test_more_than_the_limit_passes_alone() -> None:
    bucket = Bucket(100)
    assert admitted(bucket, 500, 0.0) == 0.0
    assert admitted(bucket, 500, 1.0) >= MINUTE


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(60, 600))
def test_parts_of_processes_make_no_more_than_the_whole(wants: list[int], limit: int) -> None:
    total = sum(wants)
    used = 0.0
    for wanted in wants:
        bucket = Bucket(limit)
        own = wanted / total if total else 1 / len(wants)
        bucket.set_share(0.2 / len(wants) + 0.8 * own)
        assert bucket.limit is not None
        used += bucket.limit
    assert used <= limit + len(wants)


def test_what_the_server_says_is_left_holds_calls_back() -> None:
    """Another program uses the same key: our own count knows nothing of it."""
    bucket = Bucket()
    assert bucket.wait(1, 0.0) == 0
    bucket.told(600, 2, 30.0, 0.0)
    assert admitted(bucket, 1, 0.0, interactive=True) == 0.0
    assert admitted(bucket, 1, 0.0, interactive=True) == 0.0
    held = admitted(bucket, 10, 0.0, interactive=True)
    assert 0.5 < held <= 30.0
    bucket.told(600, 0, 5.0, 100.0)
    assert admitted(bucket, 300, 100.0, interactive=True) >= 105.0


def test_a_server_s_limit_holds_beside_the_configured_one() -> None:
    bucket = Bucket(100)
    bucket.told(40, 40, 0.0, 0.0)
    assert bucket.limit == 40
    bucket.told(4000, 4000, 0.0, 0.0)
    assert bucket.limit == 100
    bucket.told(0, None, None, 0.0)
    assert bucket.limit == 100
