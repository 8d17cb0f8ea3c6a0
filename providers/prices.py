"""What a call costs, in US dollars.

A price set by the operator goes first, then the list kept by the genai-prices package (its data
ships with it; nothing is downloaded). A price known to neither is ``None``, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from genai_prices import Usage, calc_price

from providers.gateway.types import Deployment

MILLION = 1_000_000

FREE_KINDS = frozenset({"local", "scripted"})
"""Kinds of deployment that send nobody a bill unless the operator set a price."""


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

    ``tokens_cached`` are part of ``tokens_in``.
    """
    prices = unit_prices(target, model)
    if prices is None:
        return None
    cached = min(tokens_cached, tokens_in)
    return (
        (tokens_in - cached) * prices.tokens_in
        + cached * prices.cached
        + tokens_out * prices.tokens_out
    ) / MILLION


def unit_prices(target: Deployment, model: str) -> UnitPrices | None:
    """The prices in force for a model of a deployment."""
    embeds = bool(target.embedding_model) and model == target.embedding_model != target.model
    if target.price_in is not None and (target.price_out is not None or embeds):
        return UnitPrices(target.price_in, target.price_out or 0.0, target.price_in)
    if target.kind in FREE_KINDS:
        return UnitPrices(0.0, 0.0, 0.0)
    return list_prices(model, target.base_url)


@lru_cache(maxsize=512)
def list_prices(model: str, base_url: str) -> UnitPrices | None:
    """The public list's prices of a model as sold at an address.

    The list is asked for a model only at an address it knows, so that a model of the same name
    on one's own server is not given somebody's price.
    """
    host = urlsplit(base_url).hostname
    if not host:
        return None
    try:
        found = [
            calc_price(usage, model_ref=model, provider_api_url=base_url).total_price
            for usage in _PROBES
        ]
    except LookupError:
        return None
    tokens_in, tokens_out, cached = (float(price) * MILLION / _STEP for price in found)
    return UnitPrices(tokens_in, tokens_out, cached)


_STEP = 1_000
_PROBES = (
    Usage(input_tokens=_STEP),
    Usage(output_tokens=_STEP),
    Usage(input_tokens=_STEP, cache_read_tokens=_STEP),
)
"""Small usages, below every tier, from which the price of one million follows."""
