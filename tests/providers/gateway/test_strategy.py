"""Who is asked first, who follows, who is left out and why."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.gateway.errors import ErrorClass
from providers.gateway.health import BY_HAND, Health
from providers.gateway.strategy import CHOSEN, Load, Needs, Turns, choose, explain
from providers.gateway.types import Route, Strategy
from tests.providers.support import deployment

A, B, C = (deployment(id=name, provider=name.upper()) for name in "abc")
OPEN = Health("open", reason="server", wait=7.0)
STRATEGIES: tuple[Strategy, ...] = (
    "priority", "weighted", "round_robin", "least_busy", "lowest_latency", "cheapest",
)  # fmt: skip


def names(route: Route, states: dict[str, Health] | None = None, **options: object) -> str:
    choice = choose(route, states or {}, **options)  # type: ignore[arg-type]
    return "".join(target.id for target in choice.order)


def test_priority_is_the_order_given_less_those_that_rest() -> None:
    route = Route((A, B, C))
    assert names(route) == "abc"
    assert names(route, {"a": OPEN}) == "bc"
    assert names(route, {"a": OPEN, "b": OPEN, "c": OPEN}) == ""


def test_weights_are_kept_and_mixed() -> None:
    """The sequence of nginx's own example: 5, 1, 1."""
    route, turns = Route((A, B, C), "weighted", (5, 1, 1)), Turns()
    first = [names(route, turns=turns)[0] for _ in range(14)]
    assert "".join(first[:7]) == "aabacaa"
    assert Counter(first) == {"a": 10, "b": 2, "c": 2}


def test_weights_of_those_that_rest_go_to_the_others() -> None:
    route, turns = Route((A, B, C), "weighted", (5, 3, 1)), Turns()
    asked = Counter(names(route, {"a": OPEN}, turns=turns)[0] for _ in range(40))
    assert asked == {"b": 30, "c": 10}
    none = Route((A, B), "weighted", (1, 0))
    assert names(none, {"a": OPEN}) == "b"


def test_round_robin_takes_turns() -> None:
    route, turns = Route((A, B, C), "round_robin"), Turns()
    assert "".join(names(route, turns=turns)[0] for _ in range(6)) == "abcabc"


def test_least_busy_goes_by_the_share_of_room_in_use() -> None:
    loads = {"a": Load(4, 8), "b": Load(5, 20), "c": Load(1, 1)}
    assert names(Route((A, B, C), "least_busy"), loads=loads) == "bac"


def test_lowest_latency_weighs_calls_out_and_tries_the_unknown() -> None:
    loads = {"a": Load(9, 20, 1.0), "b": Load(0, 20, 3.0), "c": Load(0, 20, 12.0)}
    assert names(Route((A, B, C), "lowest_latency"), loads=loads) == "bac"
    assert names(Route((A, B, C), "lowest_latency"), loads={**loads, "c": Load()})[0] == "c"


def test_lowest_latency_spreads_by_two_picks() -> None:
    """The slowest of three is never the better of two, the fastest is in two draws of three."""
    loads = {"a": Load(latency=1.0), "b": Load(latency=2.0), "c": Load(latency=3.0)}
    route, rng = Route((A, B, C), "lowest_latency"), random.Random(1)
    asked = Counter(names(route, loads=loads, rng=rng)[0] for _ in range(3000))
    assert asked["c"] == 0
    assert 1900 < asked["a"] < 2100


def test_cheapest_goes_by_the_price_of_this_prompt_and_unpriced_last() -> None:
    prices = {"a": 0.2, "b": 0.1}
    needs = Needs(price=lambda target: prices.get(target.id))
    assert names(Route((C, A, B), "cheapest"), needs=needs) == "bac"


def test_those_that_cannot_are_left_out_with_a_reason() -> None:
    small = deployment(id="small", context_tokens=1000)
    plain = deployment(id="plain", supports_tools=False)
    blind = deployment(id="blind", model="", embedding_model="")
    choice = choose(Route((small, plain, blind, A)), {}, Needs(1200, tools=True, embeddings=True))
    assert choice.order == (A,)
    assert [(one.target.id, one.error_class) for one in choice.skipped] == [
        ("small", ErrorClass.CONTEXT_LENGTH),
        ("plain", ErrorClass.NOT_FOUND),
        ("blind", ErrorClass.NOT_FOUND),
    ]
    assert names(Route((small,)), needs=Needs(1000)) == "small"


@pytest.mark.parametrize(
    ("health", "word", "wait"),
    [
        (OPEN, "It is tried again in 7 s.", 7.0),
        (Health("half_open", reason="network", wait=2.0), "It is being tried again.", 2.0),
        (Health("rested", reason=BY_HAND), "It rests by hand.", None),
        (Health("open", reason="auth", wait=60), "refused the API key", 60),
    ],
)
def test_a_rest_is_explained(health: Health, word: str, wait: float | None) -> None:
    (skipped,) = choose(Route((A,)), {"a": health}).skipped
    assert word in skipped.reason
    assert skipped.wait == wait


def test_whose_rest_is_over_is_tried() -> None:
    assert names(Route((A, B)), {"a": Health("open", reason="server", wait=0.0)}) == "ab"


def test_what_happens_if_this_fails_can_be_shown() -> None:
    told = explain(Route((A, B, C)), {"a": OPEN})
    assert [(target.id, text) for target, text in told[:2]] == [
        ("b", CHOSEN),
        ("c", "asked as number 2, if those before fail"),
    ]
    assert told[2][0] == A
    assert "tried again" in told[2][1]


@given(
    st.sampled_from(STRATEGIES),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from(("open", "rested", "half_open"))),
    st.lists(st.integers(0, 5), min_size=3, max_size=3),
    st.randoms(use_true_random=False),
)
def test_every_target_is_in_line_or_left_out(
    strategy: Strategy, resting: dict[str, str], weights: list[int], rng: random.Random
) -> None:
    route = Route((A, B, C), strategy, tuple(weights))
    states = {name: Health(state, wait=3.0) for name, state in resting.items()}  # type: ignore[arg-type]
    choice = choose(route, states, turns=Turns(), rng=rng)
    out = {one.target.id for one in choice.skipped}
    assert out == set(resting)
    assert sorted([target.id for target in choice.order] + list(out)) == ["a", "b", "c"]
