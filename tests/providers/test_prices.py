from __future__ import annotations

from datetime import UTC, datetime

import pytest

from providers.prices import cost_of, list_prices, unit_prices
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


GOOGLE = "https://generativelanguage.googleapis.com/v1beta/openai"


def test_a_long_request_costs_its_higher_price_from_the_first_token_on() -> None:
    target = deployment(
        kind="openai", base_url=GOOGLE, model="gemini-2.5-pro", price_in=None, price_out=None
    )
    below, above = (unit_prices(target, target.model, size) for size in (200_000, 200_001))
    assert below is not None
    assert above is not None
    assert (below.tokens_in, below.tokens_out, below.cached) == (1.25, 10.0, 0.125)
    assert (above.tokens_in, above.tokens_out, above.cached) == (2.5, 15.0, 0.25)
    cost = cost_of(target, target.model, 300_000, 1_000, 100_000)
    assert cost == pytest.approx(200_000 * 2.5e-6 + 100_000 * 0.25e-6 + 1_000 * 15e-6)


def test_the_list_knows_prices_by_the_hour() -> None:
    day, night = (
        list_prices(
            "deepseek-chat",
            "https://api.deepseek.com/v1",
            when=datetime(2025, 5, 5, hour, tzinfo=UTC),
        )
        for hour in (1, 18)
    )
    assert day is not None
    assert night is not None
    assert night.tokens_in == pytest.approx(day.tokens_in / 2)


def test_what_is_read_from_the_providers_cache_has_a_price_of_its_own() -> None:
    target = deployment(price_cached=0.1)
    assert cost_of(target, "test-model", 1_000_000, 0, 400_000) == pytest.approx(0.64)
    assert cost_of(deployment(), "test-model", 1_000_000, 0, 400_000) == pytest.approx(1.0)


def test_a_batch_costs_its_share_of_the_price_whoever_named_that() -> None:
    half = deployment(price_factor=0.5)
    assert cost_of(half, "test-model", 1_000_000, 1_000_000, 0) == pytest.approx(1.5)
    listed = deployment(
        kind="openai", base_url=OPENAI, model="gpt-4o-mini", price_in=None, price_out=None
    )
    halved = deployment(
        kind="openai",
        base_url=OPENAI,
        model="gpt-4o-mini",
        price_in=None,
        price_out=None,
        price_factor=0.5,
    )
    whole = cost_of(listed, "gpt-4o-mini", 1000, 100, 0)
    assert whole
    assert cost_of(halved, "gpt-4o-mini", 1000, 100, 0) == pytest.approx(whole / 2)
