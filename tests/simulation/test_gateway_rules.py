"""Waiting, giving up and doubting follow the table of errors, whatever a provider does."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyses.export.rows import FORMULA, safe
from providers.gateway.fingerprint import canonical, content_hash, fingerprint
from providers.prices import cost_of
from tests.providers.support import chat_call, deployment
from tests.simulation.gateway_rules import broken_by
from tests.simulation.mutants import GATEWAY_MUTANTS, Mutant

SEEDS = 60

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


def test_no_run_of_faults_breaks_a_rule() -> None:
    for seed in range(SEEDS):
        assert not broken_by(seed), f"seed {seed}: {broken_by(seed)}"


@pytest.mark.parametrize("mutant", [pytest.param(m, id=n) for n, m in GATEWAY_MUTANTS.items()])
def test_faults_put_in_on_purpose_are_found(mutant: Mutant) -> None:
    with mutant():
        found = next((seed for seed in range(SEEDS) if broken_by(seed)), None)
    assert found is not None, f"survived {SEEDS} runs"


@given(st.dictionaries(st.text(max_size=4), json_values, max_size=5), st.randoms())
def test_a_key_does_not_depend_on_the_order_of_keys(value: dict[str, Any], rng: Any) -> None:
    assert canonical(value) == canonical(_shuffled(value, rng))


def _shuffled(value: Any, rng: Any) -> Any:
    if isinstance(value, dict):
        items = [(key, _shuffled(inner, rng)) for key, inner in value.items()]
        rng.shuffle(items)
        return dict(items)
    return [_shuffled(inner, rng) for inner in value] if isinstance(value, list) else value


@given(st.integers(1, 10**9), st.integers(1, 10**9), st.text(max_size=20))
def test_workspaces_share_no_key(one: int, other: int, text: str) -> None:
    content, target = content_hash(chat_call(text)), deployment()
    same = fingerprint(one, target, "m", content) == fingerprint(other, target, "m", content)
    assert same == (one == other)


tokens = st.integers(0, 10**7)
prices = st.floats(0, 1000)


@given(prices, prices, tokens, tokens, tokens, tokens)
def test_costs_are_never_negative_and_add_up(
    price_in: float, price_out: float, in_a: int, out_a: int, in_b: int, out_b: int
) -> None:
    target = deployment(price_in=price_in, price_out=price_out)
    a, b = cost_of(target, "m", in_a, out_a, 0), cost_of(target, "m", in_b, out_b, 0)
    both = cost_of(target, "m", in_a + in_b, out_a + out_b, 0)
    assert a is not None
    assert b is not None
    assert both is not None
    assert a >= 0
    assert b >= 0
    assert Decimal(both) == pytest.approx(Decimal(a) + Decimal(b), rel=Decimal("1e-9"))


@given(st.text(max_size=30))
def test_a_guarded_cell_is_harmless_and_can_be_read_back(text: str) -> None:
    cell = safe(text)
    assert not cell.startswith(FORMULA)
    assert cell.removeprefix("'" if cell != text else "") == text
