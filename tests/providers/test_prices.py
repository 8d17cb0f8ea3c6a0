from __future__ import annotations

import pytest

from providers.prices import cost_of, unit_prices
from tests.providers.support import deployment

OPENAI = "https://api.openai.com/v1"


def test_the_operators_price_goes_first() -> None:
    target = deployment(kind="openai", base_url=OPENAI, model="gpt-4o-mini")
    assert cost_of(target, "gpt-4o-mini", 1_000_000, 1_000_000, 0) == pytest.approx(3.0)


def test_the_public_list_fills_in_cached_input_included() -> None:
    target = deployment(
        kind="openai", base_url=OPENAI, model="gpt-4o-mini", price_in=None, price_out=None
    )
    prices = unit_prices(target, "gpt-4o-mini")
    assert prices is not None
    assert 0 < prices.cached < prices.tokens_in < prices.tokens_out
    cost = cost_of(target, "gpt-4o-mini", 1000, 100, 400)
    expected = 600 * prices.tokens_in + 400 * prices.cached + 100 * prices.tokens_out
    assert cost == pytest.approx(expected / 1e6)


@pytest.mark.parametrize(
    ("base_url", "model"),
    [
        (OPENAI, "no-such-model-x"),
        ("http://10.0.0.5/v1", "gpt-4o-mini"),
        ("https://llm.example.com/v1", "gpt-4o-mini"),
        ("", "gpt-4o-mini"),
    ],
)
def test_an_unknown_price_is_none(base_url: str, model: str) -> None:
    target = deployment(
        kind="openai", base_url=base_url, model=model, price_in=None, price_out=None
    )
    assert cost_of(target, model, 10, 10, 0) is None


def test_half_a_price_is_no_price() -> None:
    target = deployment(kind="openai", base_url="http://10.0.0.5/v1", price_out=None)
    assert cost_of(target, "test-model", 10, 10, 0) is None


def test_embeddings_need_no_output_price_and_engines_here_are_free() -> None:
    target = deployment(kind="openai", base_url="http://10.0.0.5/v1", price_out=None)
    assert cost_of(target, "test-embed", 1_000_000, 0, 0) == pytest.approx(1.0)
    local = deployment(kind="local", price_in=None, price_out=None)
    assert cost_of(local, "test-model", 10, 10, 0) == 0.0
