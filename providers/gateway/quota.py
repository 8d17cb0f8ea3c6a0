"""What the headers of an answer say is left of a provider's rate limits.

OpenAI, Azure and Groq ("Rate limits": ``x-ratelimit-remaining-tokens`` and so on, resets as in
``6m0s``), Mistral (``…-req-minute``), Together (``x-ratelimit-*``, ``x-tokenlimit-*``), Anthropic
("Rate limits": ``anthropic-ratelimit-*``, resets as RFC 3339 dates). What cannot be read is left
out: a header is a hint, never a fault.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from providers.gateway.types import Quota

LONGEST_RESET = 86_400.0
"""Resets further away than a day are cut to it."""

_DURATION = re.compile(
    r"(?:(\d{1,4})d)?(?:(\d{1,4})h)?(?:(\d{1,5})m)?(?:(\d{1,6}(?:\.\d{1,9})?)s)?"
)
_MILLIS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)ms")
_SCALES = (86_400, 3_600, 60, 1)

_ANTHROPIC = "anthropic-ratelimit-"
_NAMES: tuple[tuple[str, ...], ...] = (
    (
        "x-ratelimit-limit-requests",
        "x-ratelimit-limit-req-minute",
        _ANTHROPIC + "requests-limit",
    ),
    (
        "x-ratelimit-remaining-requests",
        "x-ratelimit-remaining-req-minute",
        _ANTHROPIC + "requests-remaining",
    ),
    ("x-ratelimit-reset-requests", _ANTHROPIC + "requests-reset"),
    (
        "x-ratelimit-limit-tokens",
        "x-ratelimit-limit-tokens-minute",
        _ANTHROPIC + "tokens-limit",
        _ANTHROPIC + "input-tokens-limit",
    ),
    (
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-remaining-tokens-minute",
        "x-tokenlimit-remaining",
        _ANTHROPIC + "tokens-remaining",
        _ANTHROPIC + "input-tokens-remaining",
    ),
    (
        "x-ratelimit-reset-tokens",
        _ANTHROPIC + "tokens-reset",
        _ANTHROPIC + "input-tokens-reset",
    ),
)
"""The headers of each field of :class:`Quota`, in its order. Together's limits are a second's and
so left out; what is left of them is not."""

_ANY = frozenset(name for names in _NAMES for name in names)

DAILY_REQUESTS_RESET = 120.0
"""A request limit that is whole again only after more than two minutes is not one a minute: Groq's
request headers count a day ("Rate limits": "always refers to Requests Per Day")."""


def read_quota(headers: Mapping[str, str], now: datetime) -> Quota | None:
    """The limits an answer's headers tell; ``None`` where they tell none.

    ``headers`` must be looked up without regard to case. Resets are seconds from ``now``.
    """
    if _ANY.isdisjoint(headers):
        return None
    requests_limit, requests_left = (_whole(_first(headers, names)) for names in _NAMES[:2])
    tokens_limit, tokens_left = (_whole(_first(headers, names)) for names in _NAMES[3:5])
    requests_reset = read_reset(_first(headers, _NAMES[2]), now)
    if requests_reset is not None and requests_reset > DAILY_REQUESTS_RESET:
        requests_limit = None
    return Quota(
        requests_limit=requests_limit,
        requests_left=requests_left,
        requests_reset=requests_reset,
        tokens_limit=tokens_limit,
        tokens_left=tokens_left,
        tokens_reset=read_reset(_first(headers, _NAMES[5]), now),
    )


def wait_of(quota: Quota | None) -> float | None:
    """Seconds until whatever ran out is there again; ``None`` if nothing did or nobody says."""
    if quota is None:
        return None
    waits = [
        reset
        for left, reset in (
            (quota.requests_left, quota.requests_reset),
            (quota.tokens_left, quota.tokens_reset),
        )
        if left == 0 and reset is not None
    ]
    return max(waits, default=None)


def read_reset(text: str | None, now: datetime) -> float | None:
    """Seconds of ``1s``, ``6m0s``, ``1h2m3.5s``, ``120ms``, ``0.5`` or an RFC 3339 date."""
    if not text or len(text) > 40:
        return None
    text = text.strip()
    seconds = _duration(text)
    if seconds is None:
        seconds = _until(text, now)
    return None if seconds is None else min(max(0.0, seconds), LONGEST_RESET)


def _duration(text: str) -> float | None:
    millis = _MILLIS.fullmatch(text)
    if millis:
        return float(millis[1]) / 1000
    parts = _DURATION.fullmatch(text)
    if parts and any(parts.groups()):
        return sum(
            float(value) * scale
            for value, scale in zip(parts.groups(), _SCALES, strict=True)
            if value
        )
    plain = _DURATION.fullmatch(text + "s")
    return float(text) if plain and plain[4] and not any(plain.groups()[:3]) else None


def _until(text: str, now: datetime) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - now).total_seconds()


def _first(headers: Mapping[str, str], names: Sequence[str]) -> str | None:
    return next((headers[name] for name in names if name in headers), None)


def _whole(text: str | None) -> int | None:
    """A count as servers write it: ``30000``, sometimes ``30000.0``."""
    if text is None or len(text) > 20 or not text.isascii():
        return None
    whole, _, rest = text.strip().partition(".")
    if not whole.isdecimal() or rest.strip("0"):
        return None
    return int(whole) if int(whole) < 2**53 else None
