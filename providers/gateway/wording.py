"""The words by which servers name what went wrong, where the HTTP status leaves it open.

Collected from the error pages and answers of OpenAI, Azure, Anthropic, Google, Mistral,
OpenRouter, Groq, Together, Ollama, vLLM, LM Studio, llama.cpp and the LiteLLM proxy; every one of
them stands in the table of recorded answers that the tests read. All in lower case.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

LONGEST_WAIT = 1e8
"""Seconds (three years): a longer wait means never, and is told as this."""

LONGEST_WORDS = 4_000
"""Characters of an error body that are read."""

QUOTA = (
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "billing_error",
    "credit_balance_exhausted",
    "credit_balance_too_low",
    "enforced_spend_limit_reached",
    "quota_exceeded",
    "access_terminated",
    "budget_exceeded",
    "budget has been exceeded",
    "exceeded your current quota",
    "credit balance is too low",
    "credit limit",
    "insufficient credits",
    "insufficient balance",
    "requires more credits",
    "spend limit",
    "spending limit",
    "perday",
    "per-day",
)
"""Nothing left until somebody pays or a day is over."""

A_MINUTE = ("perminute", "persecond")
"""Google's quota violations say in their name that a minute is enough ("Rate limits")."""

CONTEXT = (
    "context_length_exceeded",
    "contextwindowexceeded",
    "maximum context length",
    "context length",
    "context window",
    "prompt is too long",
    "too many tokens",
    "reduce the length",
    "exceeds the available context size",
    "exceeds the maximum number of tokens",
    "`inputs` tokens",
)
TOO_LARGE = ("request too large", "request_too_large")
"""A single request over the whole limit a minute: no wait helps."""

FILTER = (
    "content_filter",
    "content management policy",
    "content_policy_violation",
    "contentpolicyviolation",
    "responsibleaipolicyviolation",
    "requires moderation",
)
MODEL = (
    "model_not_found",
    "does not exist",
    "model not found",
    "no such model",
    "invalid_model",
    "invalid model",
    "not a valid model",
    "unable to access model",
    "model_not_available",
    "model_decommissioned",
    "try pulling it first",
    "no models loaded",
)
KEY = (
    "api key not valid",
    "api_key_invalid",
    "incorrect api key",
    "invalid api key",
    # The LiteLLM proxy without a database, asked with another key than its own.
    "no_db_connection",
)
PLACE = ("location is not supported", "unsupported_country")
SPOILED = ("json_validate_failed", "tool_use_failed", "failed to generate json")
"""The server itself found that what the model wrote does not have the form asked for (Groq)."""

ADAPTABLE = (
    ("stream_options", ("stream_options", "include_usage")),
    (
        "response_format",
        (
            "response_format",
            "response format",
            "json_schema",
            "structured output",
            "guided_json",
            "tool_choice",
            "input_schema",
            "handle the requested parameters",
        ),
    ),
    ("max_tokens", ("max_tokens", "max_completion_tokens")),
    ("temperature", ("temperature",)),
    ("encoding_format", ("encoding_format", "base64")),
)
"""Request parameters some servers refuse, and the words by which they say so."""

_PARTS = ("code", "type", "param", "status", "message", "detail", "error")
_NESTED = ("details", "metadata", "innererror")
_TOLD = re.compile(
    r"(?:try again|retry(?:ing)?)(?: after| in|delay\W{1,6})? "
    r"?(?:(\d{1,5})m)?(\d{1,8}(?:\.\d{1,9})?) ?(ms|s\b|sec)"
)


def has(said: str, phrases: tuple[str, ...]) -> bool:
    """Whether any of the phrases was said."""
    return any(phrase in said for phrase in phrases)


def words(body: Any) -> str:
    """Code, type, message and details of an error body in one lower-case string."""
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, Mapping):
        return ""
    error = body.get("error")
    rows = [error] if isinstance(error, Mapping) else [body]
    parts = [row.get(key) for row in rows for key in (*_PARTS, *_NESTED)]
    return " ".join(str(part) for part in parts if part is not None)[:LONGEST_WORDS].lower()


def told_wait(said: str) -> float | None:
    """Seconds to wait as told in a sentence: "try again in 1m2.5s", "retry after 26 seconds"."""
    found = _TOLD.search(said)
    if found is None:
        return None
    minutes, number, unit = found.groups()
    seconds = float(number) / (1000 if unit == "ms" else 1) + 60 * int(minutes or 0)
    return min(seconds, LONGEST_WAIT)


def parse_retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait as told by ``retry-after-ms`` or ``Retry-After`` (RFC 9110, 10.2.3).

    The header holds seconds or an HTTP date; a past date gives 0, nonsense ``None``, and more
    than :data:`LONGEST_WAIT` that.
    """
    millis = _number(headers.get("retry-after-ms"))
    if millis is not None:
        return millis / 1000
    value = headers.get("retry-after")
    if value is None or len(value) > 100:
        return None
    seconds = _number(value)
    if seconds is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - now).total_seconds()), LONGEST_WAIT)


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else -1.0
    except ValueError:
        return None
    return min(number, LONGEST_WAIT) if number >= 0 and math.isfinite(number) else None
