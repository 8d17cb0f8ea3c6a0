"""What a call costs, in US dollars.

A price set by the operator goes first, then the list kept by the genai-prices package (its data
ships with it; nothing is downloaded). A price known to neither is ``None``, never 0. The list
knows prices that rise for long requests, that begin on a date and that hold at certain hours.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import urlsplit

from genai_prices import Usage, calc_price
from genai_prices.types import PriceCalculation, TieredPrices

from providers.gateway.types import Deployment

MILLION = 1_000_000

FREE_KINDS = frozenset({"local", "scripted"})
"""Kinds of deployment that send nobody a bill unless the operator set a price."""

QUARTER = 900
"""Seconds for which a list price is taken as constant: no price in the list changes within."""


@dataclass(frozen=True, slots=True)
class UnitPrices:
    """US dollars per million tokens; ``cached`` for input read from the provider's cache."""

    tokens_in: float
    tokens_out: float
    cached: float


def cost_of(
    target: Deployment, model: str, tokens_in: int, tokens_out: int, tokens_cached: int
) -> float | None:
    """The cost of one call, ``None`` when the price is unknown.

    ``tokens_cached`` are part of ``tokens_in``, and reasoning tokens of ``tokens_out``. What goes
    through a batch API costs ``target.price_factor`` of the price.
    """
    prices = unit_prices(target, model, tokens_in)
    if prices is None:
        return None
    return target.price_factor * cost_at(prices, tokens_in, tokens_out, tokens_cached)


def cost_at(prices: UnitPrices, tokens_in: int, tokens_out: int, tokens_cached: int) -> float:
    """The cost of one call at given prices."""
    cached = min(tokens_cached, tokens_in)
    return (
        (tokens_in - cached) * prices.tokens_in
        + cached * prices.cached
        + tokens_out * prices.tokens_out
    ) / MILLION


def unit_prices(target: Deployment, model: str, tokens_in: int = 0) -> UnitPrices | None:
    """The prices in force for a model of a deployment, for a request of ``tokens_in`` tokens."""
    own = own_prices(target, model)
    if own is not None:
        return own
    if target.kind in FREE_KINDS:
        return UnitPrices(0.0, 0.0, 0.0)
    return list_prices(model, target.base_url, tokens_in)


def own_prices(target: Deployment, model: str) -> UnitPrices | None:
    """What the operator entered, if that is enough to price a call."""
    embeds = bool(target.embedding_model) and model == target.embedding_model != target.model
    if target.price_in is None or (target.price_out is None and not embeds):
        return None
    cached = target.price_in if target.price_cached is None else target.price_cached
    return UnitPrices(target.price_in, target.price_out or 0.0, cached)


def list_prices(
    model: str, base_url: str, tokens_in: int = 0, when: datetime | None = None
) -> UnitPrices | None:
    """The public list's prices of a model as sold at an address at a moment, now without one.

    The list is asked for a model only at an address it knows, so that a model of the same name
    on one's own server is not given somebody's price. Above a model's threshold every token of
    the request has the higher price, as the providers charge it.
    """
    seconds = time.time() if when is None else when.timestamp()
    tiers = _tiers(model, base_url, int(seconds // QUARTER))
    return next((prices for above, prices in tiers if tokens_in > above or above == 0), None)


@lru_cache(maxsize=512)
def _tiers(model: str, base_url: str, quarter: int) -> tuple[tuple[int, UnitPrices], ...]:
    """Prices by the size of the request above which they hold, the largest first."""
    if not urlsplit(base_url).hostname:
        return ()
    when = datetime.fromtimestamp(quarter * QUARTER, UTC)
    try:
        starts = _starts(_asked(Usage(input_tokens=1), model, base_url, when))
        return tuple((start, _prices_at(start, model, base_url, when)) for start in starts)
    except LookupError:
        return ()


def _asked(usage: Usage, model: str, base_url: str, when: datetime) -> PriceCalculation:
    return calc_price(
        usage, model_ref=model, provider_api_url=base_url, genai_request_timestamp=when
    )


def _starts(found: PriceCalculation) -> list[int]:
    """The request sizes above which other prices hold, the largest first; 0 is the last."""
    prices = (
        getattr(found.model_price, name)
        for name in ("input_mtok", "output_mtok", "cache_read_mtok")
    )
    starts = {
        tier.start for price in prices if isinstance(price, TieredPrices) for tier in price.tiers
    }
    return sorted({0, *starts}, reverse=True)


def _prices_at(start: int, model: str, base_url: str, when: datetime) -> UnitPrices:
    """The prices of a million tokens in a request just above a threshold."""
    size = start + _STEP if start else 1
    alone, written, cached = (
        _asked(usage, model, base_url, when).total_price * MILLION
        for usage in (
            Usage(input_tokens=size),
            Usage(input_tokens=size, output_tokens=_STEP),
            Usage(input_tokens=size, cache_read_tokens=size),
        )
    )
    return UnitPrices(float(alone / size), float((written - alone) / _STEP), float(cached / size))


_STEP = 1_000
