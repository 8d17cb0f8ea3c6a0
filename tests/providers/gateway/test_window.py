"""How many calls at once: up by one, down by half, and never by a misunderstanding."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.gateway.window import CUT_EVERY, START, Window


class World:
    """Rounds of calls, each as many as the window allows, answered after one second."""

    def __init__(self, most: int, *, takes: int = 10_000, blind: float = 0.0, late: float = 0.0):
        self.window = Window(most)
        self.takes, self.blind, self.late = takes, blind, late
        self.now = 0.0
        self.rng = random.Random(5)
        self.sizes: list[int] = []

    def rounds(self, count: int, latency: float = 1.0) -> None:
        for _ in range(count):
            size = self.window.limit
            self.sizes.append(size)
            for place in range(size):
                if place >= self.takes or self.rng.random() < self.blind:
                    self.window.refused(self.now)
                elif self.rng.random() < self.late:
                    self.window.timed_out(self.now)
                else:
                    self.window.answered(latency, self.now, full=True)
            self.now += 1.0


def test_it_begins_small_and_doubles_until_the_first_refusal() -> None:
    world = World(50)
    world.rounds(5)
    assert world.sizes == [8, 16, 32, 50, 50]


def test_a_smaller_maximum_is_used_at_once() -> None:
    assert Window(3).limit == 3


def test_a_provider_that_takes_ten_at_once_is_sent_about_ten() -> None:
    world = World(64, takes=10)
    world.rounds(80)
    late = world.sizes[20:]
    assert sum(late) / len(late) <= 16
    assert sum(min(size, 10) for size in late) >= 7 * len(late)


def test_after_a_cut_it_grows_by_one_a_round() -> None:
    world = World(64, takes=20)
    world.rounds(3)
    world.takes = 10_000
    size = world.window.limit
    world.rounds(4)
    assert world.window.limit - size in (3, 4)


def test_of_refusals_that_come_together_one_counts() -> None:
    window = Window(32)
    for _ in range(24):
        window.answered(1.0, 0.0, full=True)
    size = window.limit
    for _ in range(30):
        window.refused(10.0)
    assert window.limit == size // 2


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_refusals_that_no_load_explains_do_not_throttle(share: float) -> None:
    world = World(50, blind=share)
    world.rounds(100)
    assert sum(world.sizes[20:]) >= 0.8 * 50 * 80


def test_single_hangs_are_no_load_and_many_are() -> None:
    few, many = World(50, late=0.01), World(50, late=0.3)
    few.rounds(40)
    many.rounds(40)
    assert sum(few.sizes[10:]) >= 0.9 * 50 * 30
    assert sum(many.sizes[10:]) <= 0.5 * 50 * 30


def test_slow_answers_shrink_it_a_little_and_never_to_less_than_half() -> None:
    world = World(40)
    world.rounds(10)
    world.rounds(30, latency=8.0)
    assert min(world.sizes) >= START
    assert min(world.sizes[10:]) >= 20
    assert min(world.sizes[10:]) < 40


@pytest.mark.parametrize("latency", [0.0005, 0.01, 0.08])
def test_fast_servers_are_never_thought_slow(latency: float) -> None:
    """An in-process model's latency varies many-fold with what else the process does."""
    world = World(16)
    world.rounds(10, latency=latency)
    world.rounds(50, latency=2.5 * latency)
    assert world.window.limit == 16


def test_room_that_is_not_used_does_not_grow() -> None:
    window = Window(50)
    for _ in range(500):
        window.answered(1.0, 0.0, full=False)
    assert window.limit == START


def test_batches_have_all_their_room() -> None:
    window = Window(500, adapts=False)
    window.refused(0.0)
    assert (window.limit, window.ramps) == (500, False)


def test_the_maximum_can_be_moved() -> None:
    world = World(10)
    world.rounds(5)
    world.window.most = 40
    world.rounds(10)
    assert world.window.limit == 40
    world.window.most = 2
    assert world.window.limit == 2


@given(
    st.integers(1, 80),
    st.lists(
        st.tuples(st.sampled_from("arlmd"), st.floats(0, 3), st.integers(1, 80)), max_size=300
    ),
)
def test_it_stays_between_one_and_the_maximum(
    most: int, events: list[tuple[str, float, int]]
) -> None:
    window, now, cut_at, before = Window(most), 0.0, float("-inf"), most
    for what, after, number in events:
        now += after
        before = window.limit
        if what == "a":
            window.answered(after, now, full=True)
        elif what == "r":
            window.refused(now)
        elif what == "l":
            window.timed_out(now)
        elif what == "d" and window.ramps:
            window.double()
        elif what == "m":
            window.most = number
            continue
        assert 1 <= window.limit <= window.most
        if window.limit < before:
            assert now - cut_at >= CUT_EVERY
            assert window.limit >= before // 2
            cut_at = now
