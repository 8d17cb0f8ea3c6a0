from __future__ import annotations

from datetime import UTC, datetime

import httpx2
import pytest

from providers.gateway.quota import LONGEST_RESET, read_quota, read_reset, wait_of
from providers.gateway.types import Quota

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

OPENAI = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-limit-tokens": "150000",
    "x-ratelimit-remaining-requests": "59",
    "x-ratelimit-remaining-tokens": "149984",
    "x-ratelimit-reset-requests": "1s",
    "x-ratelimit-reset-tokens": "6m0s",
}
GROQ = {
    "x-ratelimit-limit-requests": "14400",
    "x-ratelimit-limit-tokens": "18000",
    "x-ratelimit-remaining-requests": "14370",
    "x-ratelimit-remaining-tokens": "17997",
    "x-ratelimit-reset-requests": "2m59.56s",
    "x-ratelimit-reset-tokens": "7.66s",
}
MISTRAL = {
    "x-ratelimit-limit-req-minute": "300",
    "x-ratelimit-remaining-req-minute": "299",
    "x-ratelimit-limit-tokens-minute": "500000",
    "x-ratelimit-remaining-tokens-minute": "499990",
    "x-ratelimit-tokens-query-cost": "10",
}
ANTHROPIC = {
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "0",
    "anthropic-ratelimit-requests-reset": "2026-03-01T12:00:30Z",
    "anthropic-ratelimit-tokens-limit": "40000",
    "anthropic-ratelimit-tokens-remaining": "39000",
    "anthropic-ratelimit-tokens-reset": "2026-03-01T12:00:02.5Z",
    "anthropic-ratelimit-input-tokens-limit": "30000",
}
TOGETHER = {"x-ratelimit-limit": "10", "x-ratelimit-remaining": "9", "x-tokenlimit-remaining": "7"}


@pytest.mark.parametrize(
    ("headers", "quota"),
    [
        (OPENAI, Quota(60, 59, 1.0, 150_000, 149_984, 360.0)),
        (GROQ, Quota(None, 14_370, 179.56, 18_000, 17_997, 7.66)),
        (MISTRAL, Quota(300, 299, None, 500_000, 499_990, None)),
        (ANTHROPIC, Quota(50, 0, 30.0, 40_000, 39_000, 2.5)),
        (TOGETHER, Quota(tokens_left=7)),
        ({"content-type": "application/json", "x-ratelimit-limit": "7"}, None),
        ({}, None),
    ],
)
def test_headers_of_real_providers(headers: dict[str, str], quota: Quota | None) -> None:
    assert read_quota(httpx2.Headers(headers), NOW) == quota
    upper = httpx2.Headers({name.upper(): value for name, value in headers.items()})
    assert read_quota(upper, NOW) == quota


@pytest.mark.parametrize("bad", ["", "-1", "many", "1e9", "inf", "nan", "9" * 30, "1.5", "٣", "١s"])
def test_hostile_headers_tell_nothing(bad: str) -> None:
    headers = dict.fromkeys(OPENAI, bad)
    quota = read_quota(headers, NOW)
    assert quota is not None
    assert quota.requests_limit is quota.tokens_left is None
    assert quota.tokens_reset is None or 0 <= quota.tokens_reset <= LONGEST_RESET


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("1h2m3.5s", 3723.5),
        ("1d", 86_400.0),
        ("120ms", 0.12),
        ("0.5", 0.5),
        ("59", 59.0),
        ("2026-03-01T12:01:00+00:00", 60.0),
        ("2026-03-01T11:00:00Z", 0.0),
        ("2099-01-01T00:00:00Z", LONGEST_RESET),
        ("2026-03-01T12:00:10", 10.0),
        ("s", None),
        ("soon", None),
        ("-5s", None),
        (None, None),
    ],
)
def test_resets(text: str | None, seconds: float | None) -> None:
    assert read_reset(text, NOW) == (None if seconds is None else pytest.approx(seconds))


def test_how_long_to_wait_for_what_ran_out() -> None:
    assert wait_of(read_quota(ANTHROPIC, NOW)) == 30.0
    assert wait_of(read_quota(OPENAI, NOW)) is None
    assert wait_of(Quota(requests_left=0)) is None
    assert wait_of(Quota(0, 0, 2.0, 9, 0, 7.0)) == 7.0
    assert wait_of(None) is None
