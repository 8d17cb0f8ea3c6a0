"""What can go wrong with a model call, and what may be done about it.

The classes and their signals follow the error pages of OpenAI, Azure, Anthropic and Mistral; the
handling of each is the table :data:`TRAITS`. Everything here is a pure function of what a server
sent, so that each rule is tested from a recorded answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Literal

Scope = Literal["call", "model", "provider", "key"]


class ErrorClass(StrEnum):
    """Why a call ended without a usable answer."""

    NETWORK = "network"
    TIMEOUT = "timeout"
    SERVER = "server"
    RATE_LIMIT = "rate_limit"
    QUOTA = "quota"
    AUTH = "auth"
    PERMISSION = "permission"
    NOT_FOUND = "not_found"
    CONTEXT_LENGTH = "context_length"
    CONTENT_FILTER = "content_filter"
    BAD_REQUEST = "bad_request"
    BAD_ANSWER = "bad_answer"
    CANCELLED = "cancelled"
    BUDGET = "budget"


@dataclass(frozen=True, slots=True)
class Traits:
    """How a class is handled.

    ``attempts`` is how often one target is asked in all (1: no retry), ``elsewhere`` whether
    another target may succeed, ``fatal`` whether the next call would fail alike, ``scope`` what
    is at fault, ``text`` what a person is told.
    """

    attempts: int
    elsewhere: bool
    fatal: bool
    scope: Scope
    text: str

    @property
    def retryable(self) -> bool:
        """Whether the same target is worth another attempt."""
        return self.attempts > 1


TRAITS: Mapping[ErrorClass, Traits] = {
    ErrorClass.NETWORK: Traits(5, True, False, "provider", "The provider could not be reached."),
    ErrorClass.TIMEOUT: Traits(3, True, False, "provider", "The provider did not answer in time."),
    ErrorClass.SERVER: Traits(5, True, False, "provider", "The provider reported a fault."),
    ErrorClass.RATE_LIMIT: Traits(12, True, False, "key", "The provider's rate limit was reached."),
    ErrorClass.QUOTA: Traits(
        1, True, True, "key", "The provider account has no quota or credit left."
    ),
    ErrorClass.AUTH: Traits(1, True, True, "key", "The provider refused the API key."),
    ErrorClass.PERMISSION: Traits(
        1, True, True, "key", "The API key is not allowed to use this model."
    ),
    ErrorClass.NOT_FOUND: Traits(
        1, True, True, "model", "The provider does not know this model or address."
    ),
    ErrorClass.CONTEXT_LENGTH: Traits(
        1, True, False, "call", "The text is longer than the model accepts."
    ),
    ErrorClass.CONTENT_FILTER: Traits(
        1, False, False, "call", "The provider's content filter withheld the answer."
    ),
    ErrorClass.BAD_REQUEST: Traits(1, False, False, "call", "The provider refused the request."),
    ErrorClass.BAD_ANSWER: Traits(
        1, True, False, "call", "The model's answer did not have the form asked for."
    ),
    ErrorClass.CANCELLED: Traits(1, False, False, "call", "The call was stopped."),
    ErrorClass.BUDGET: Traits(1, False, True, "call", "The spending limit was reached."),
}


class Fault(Exception):
    """One attempt failed; raised by clients, handled by the gateway.

    ``sent`` says whether the request may have reached the provider (and may be billed),
    ``retry_after`` how many seconds it asked us to wait, ``detail`` a short cause in our own
    words. ``unsure`` marks a 429 that named neither a limit nor a quota. ``rejected`` names the
    request parameter the server does not take, if it said so.
    """

    def __init__(
        self,
        error_class: ErrorClass,
        detail: str = "",
        *,
        status: int | None = None,
        sent: bool = True,
        retry_after: float | None = None,
        unsure: bool = False,
        rejected: str = "",
    ) -> None:
        super().__init__(f"{error_class.value}: {detail or TRAITS[error_class].text}")
        self.error_class = error_class
        self.detail = detail
        self.status = status
        self.sent = sent
        self.retry_after = retry_after
        self.unsure = unsure
        self.rejected = rejected


def maybe_billed(fault: Fault) -> bool:
    """Whether the provider may have billed a send that brought no answer.

    Not when nothing left (refused, no name, no connection, stopped before), and not for an answer
    with an error status: those are free at every provider. Yes when the answer was cut off, or
    came and could not be used.
    """
    return fault.sent and (fault.status is None or fault.status < 300)


def is_outage(error_class: ErrorClass) -> bool:
    """Whether calls that end so speak of a provider that is down; a rate limit does not."""
    return TRAITS[error_class].retryable and error_class is not ErrorClass.RATE_LIMIT


class CallError(Exception):
    """A call ended without a usable answer after everything the route allows was tried.

    ``fatal`` says that the next call would fail the same way, so that the caller should stop;
    ``retry_after`` is then in how many seconds one may succeed again, ``None`` if nobody knows.
    """

    def __init__(
        self,
        error_class: ErrorClass,
        message: str = "",
        *,
        fatal: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.error_class = error_class
        self.retry_after = retry_after
        self.message = message or TRAITS[error_class].text
        self.fatal = TRAITS[error_class].fatal if fatal is None else fatal
        super().__init__(self.message)


class Parked(CallError):
    """The call waits at the provider in ``batch``; it has neither failed nor to be sent again.

    Whoever asked may ask again once that batch was collected.
    """

    def __init__(self, batch: str) -> None:
        super().__init__(ErrorClass.CANCELLED, "The call waits at the provider.")
        self.batch = batch


class CutOff(CallError):
    """A streamed answer broke off by ``fault`` after its beginning; ``partial`` is what came."""

    def __init__(self, fault: Fault, partial: str) -> None:
        super().__init__(fault.error_class, "The answer broke off.", fatal=False)
        self.fault = fault
        self.partial = partial


QUOTA_CODES = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "credit_balance_exhausted",
        "credit_balance_too_low",
        "enforced_spend_limit_reached",
        "quota_exceeded",
        "access_terminated",
    }
)
QUOTA_PHRASES = (
    "exceeded your current quota",
    "credit balance is too low",
    "insufficient credits",
    "insufficient balance",
    "spend limit",
    "spending limit",
    "billing",
)
RATE_PHRASES = (
    "rate limit",
    "rate_limit",
    "too many requests",
    "per minute",
    "per second",
    "slow down",
    "overloaded",
    "throttl",
    "try again in",
    "concurren",
)
CONTEXT_PHRASES = (
    "context_length_exceeded",
    "maximum context length",
    "context length",
    "context window",
    "prompt is too long",
    "too many tokens",
    "reduce the length",
    "exceeds the available context size",
)
FILTER_PHRASES = ("content_filter", "content management policy", "content_policy_violation")
REFUSALS = ("not support", "unsupported", "not allowed", "unknown", "unrecognized", "not permitted")
MODEL_PHRASES = ("model_not_found", "does not exist", "model not found", "no such model")
"""Words by which servers name a cause that the HTTP status alone leaves open. Lower case."""

ADAPTABLE = (
    ("stream_options", ("stream_options", "include_usage")),
    ("response_format", ("response_format", "json_schema", "structured output", "guided_json")),
    ("max_tokens", ("max_tokens", "max_completion_tokens")),
    ("temperature", ("temperature",)),
    ("encoding_format", ("encoding_format", "base64")),
)
"""Request parameters some servers refuse, and the words by which they say so."""


def classify_response(status: int, headers: Mapping[str, str], body: Any, now: datetime) -> Fault:
    """The fault a non-2xx answer stands for.

    ``headers`` must be looked up without regard to case; ``body`` is the parsed JSON or ``None``.
    Only fixed wordings of ours go into the fault: a foreign page's text is never repeated.
    """
    said = _words(body)
    wait = parse_retry_after(headers, now)
    if status == 429:
        return _too_many(headers, said, wait)
    if status in (400, 413, 422):
        return _refused(status, said)
    error_class = _BY_STATUS.get(status)
    if error_class is None:
        error_class = ErrorClass.SERVER if status >= 500 else ErrorClass.BAD_REQUEST
    if status in (403, 404) and any(phrase in said for phrase in MODEL_PHRASES):
        error_class = ErrorClass.NOT_FOUND
    detail = f"HTTP {status}"
    if 300 <= status < 400:
        detail += ", a redirect, which is not followed"
    return Fault(error_class, detail, status=status, retry_after=wait)


_BY_STATUS = {
    401: ErrorClass.AUTH,
    402: ErrorClass.QUOTA,
    403: ErrorClass.PERMISSION,
    404: ErrorClass.NOT_FOUND,
    405: ErrorClass.NOT_FOUND,
    408: ErrorClass.TIMEOUT,
    409: ErrorClass.SERVER,
    410: ErrorClass.NOT_FOUND,
    425: ErrorClass.SERVER,
    504: ErrorClass.TIMEOUT,
}
_BY_STATUS.update(dict.fromkeys((301, 302, 303, 307, 308), ErrorClass.NOT_FOUND))


def _too_many(headers: Mapping[str, str], said: str, wait: float | None) -> Fault:
    if any(code in said for code in QUOTA_CODES) or any(word in said for word in QUOTA_PHRASES):
        return Fault(ErrorClass.QUOTA, "HTTP 429, quota used up", status=429)
    told = wait is not None or any(name.lower().startswith(_LIMIT_HEADERS) for name in headers)
    if told or any(phrase in said for phrase in RATE_PHRASES):
        return Fault(ErrorClass.RATE_LIMIT, "HTTP 429", status=429, retry_after=wait)
    return Fault(
        ErrorClass.QUOTA, "HTTP 429 without a time to wait", status=429, sent=False, unsure=True
    )


_LIMIT_HEADERS = ("x-ratelimit-", "ratelimit-", "anthropic-ratelimit-")


def _refused(status: int, said: str) -> Fault:
    detail = f"HTTP {status}"
    if any(phrase in said for phrase in CONTEXT_PHRASES) or status == 413:
        return Fault(ErrorClass.CONTEXT_LENGTH, detail, status=status)
    if any(phrase in said for phrase in FILTER_PHRASES):
        return Fault(ErrorClass.CONTENT_FILTER, detail, status=status)
    for name, words in ADAPTABLE:
        if any(word in said for word in words):
            return Fault(
                ErrorClass.BAD_REQUEST,
                f"{detail}, {name} not accepted",
                status=status,
                rejected=name,
            )
    if any(code in said for code in QUOTA_CODES) or any(word in said for word in QUOTA_PHRASES):
        return Fault(ErrorClass.QUOTA, detail, status=status)
    if any(phrase in said for phrase in MODEL_PHRASES) and "model" in said:
        return Fault(ErrorClass.NOT_FOUND, detail, status=status)
    return Fault(ErrorClass.BAD_REQUEST, detail, status=status)


def _words(body: Any) -> str:
    """Code, type and message of an error body in one lower-case string, 2,000 characters."""
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, Mapping):
        return ""
    error = body.get("error", body)
    if isinstance(error, str):
        return error[:2000].lower()
    if not isinstance(error, Mapping):
        error = body
    parts = [error.get(key) for key in ("code", "type", "param", "status", "message", "detail")]
    return " ".join(str(part) for part in parts if part is not None)[:2000].lower()


def parse_retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait as told by ``retry-after-ms`` or ``Retry-After`` (RFC 9110, 10.2.3).

    The header holds seconds or an HTTP date; a past date gives 0, nonsense ``None``.
    """
    millis = _number(headers.get("retry-after-ms"))
    if millis is not None:
        return millis / 1000
    value = headers.get("retry-after")
    if value is None:
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
    return max(0.0, (moment - now).total_seconds())


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else -1.0
    except ValueError:
        return None
    return number if 0 <= number < 1e9 else None
