"""What can go wrong with a model call, and what may be done about it.

The words that name a cause are in :mod:`providers.gateway.wording`, the handling of each class is
the table :data:`TRAITS`. Everything here is a pure function of what a server
sent, so that each rule is tested from a recorded answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from providers.gateway import wording
from providers.gateway.quota import read_quota, wait_of

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


def classify_response(status: int, headers: Mapping[str, str], body: Any, now: datetime) -> Fault:
    """The fault a non-2xx answer stands for.

    ``headers`` must be looked up without regard to case; ``body`` is the parsed JSON or ``None``.
    Only fixed wordings of ours go into the fault: a foreign page's text is never repeated.
    """
    said = wording.words(body)
    if status == 429:
        return _too_many(headers, said, now)
    if status in (400, 413, 422):
        return _refused(status, said)
    wait = wording.parse_retry_after(headers, now)
    return Fault(_class_of(status, said), _detail(status), status=status, retry_after=wait)


_BY_STATUS = {
    401: ErrorClass.AUTH,
    402: ErrorClass.QUOTA,
    403: ErrorClass.PERMISSION,
    404: ErrorClass.NOT_FOUND,
    405: ErrorClass.NOT_FOUND,
    407: ErrorClass.NETWORK,
    408: ErrorClass.TIMEOUT,
    409: ErrorClass.SERVER,
    410: ErrorClass.NOT_FOUND,
    425: ErrorClass.SERVER,
    498: ErrorClass.SERVER,
    501: ErrorClass.BAD_REQUEST,
    504: ErrorClass.TIMEOUT,
    522: ErrorClass.TIMEOUT,
    524: ErrorClass.TIMEOUT,
}
"""RFC 9110, section 15; 498 is Groq's "flex tier capacity exceeded", 522 and 524 are Cloudflare's
"connection timed out" and "a timeout occurred"."""
_BY_STATUS.update(dict.fromkeys((301, 302, 303, 307, 308), ErrorClass.NOT_FOUND))


def _class_of(status: int, said: str) -> ErrorClass:
    if status in (403, 404) and wording.has(said, wording.MODEL):
        return ErrorClass.NOT_FOUND
    if status == 403 and wording.has(said, wording.FILTER):
        return ErrorClass.CONTENT_FILTER
    if status == 403 and wording.has(said, wording.QUOTA):
        return ErrorClass.QUOTA
    if status == 404 and "handle the requested parameters" in said:
        # OpenRouter: no provider of this model takes what was asked for.
        return ErrorClass.BAD_REQUEST
    found = _BY_STATUS.get(status)
    if found is None:
        found = ErrorClass.SERVER if status >= 500 else ErrorClass.BAD_REQUEST
    return found


def _detail(status: int) -> str:
    if status == 407:
        return "the proxy asks for a name and password"
    if 300 <= status < 400:
        return f"HTTP {status}, a redirect, which is not followed"
    return f"HTTP {status}"


def _too_many(headers: Mapping[str, str], said: str, now: datetime) -> Fault:
    """A 429: a rate where a time to wait or a limit a minute is told, else a quota.

    A time that cannot be read speaks of a rate all the same. Without any of these nobody knows;
    such a fault is ``unsure``, and whether other calls are answered meanwhile decides.
    """
    if wording.has(said, wording.TOO_LARGE):
        return Fault(ErrorClass.CONTEXT_LENGTH, "HTTP 429, request too large", status=429)
    wait = wording.parse_retry_after(headers, now)
    if wait is None:
        wait = wording.told_wait(said)
    a_minute = wording.has(said, wording.A_MINUTE)
    if wording.has(said, wording.QUOTA) and not a_minute:
        return Fault(ErrorClass.QUOTA, "HTTP 429, quota used up", status=429)
    quota = read_quota(headers, now)
    if wait is None:
        wait = wait_of(quota)
    limits = any(name.lower().startswith(_RATE_HEADERS) for name in headers)
    if wait is not None or limits or a_minute:
        return Fault(ErrorClass.RATE_LIMIT, "HTTP 429", status=429, retry_after=wait)
    return Fault(ErrorClass.QUOTA, "HTTP 429 without a time to wait", status=429, unsure=True)


_RATE_HEADERS = ("retry-after", "x-ratelimit-", "ratelimit-", "anthropic-ratelimit-")

_REFUSALS: tuple[tuple[tuple[str, ...], ErrorClass], ...] = (
    (wording.CONTEXT, ErrorClass.CONTEXT_LENGTH),
    (wording.FILTER, ErrorClass.CONTENT_FILTER),
    (wording.KEY, ErrorClass.AUTH),
    (wording.PLACE, ErrorClass.PERMISSION),
    (wording.SPOILED, ErrorClass.BAD_ANSWER),
)
_LATE_REFUSALS: tuple[tuple[tuple[str, ...], ErrorClass], ...] = (
    (wording.QUOTA, ErrorClass.QUOTA),
    (wording.MODEL, ErrorClass.NOT_FOUND),
)
"""What a 400 may mean, before and after it is looked for a parameter that was refused."""


def _refused(status: int, said: str) -> Fault:
    detail = f"HTTP {status}"
    for phrases, error_class in _REFUSALS:
        if wording.has(said, phrases):
            return Fault(error_class, detail, status=status)
    if status == 413:
        return Fault(ErrorClass.CONTEXT_LENGTH, detail, status=status)
    for name, words in wording.ADAPTABLE:
        if wording.has(said, words):
            text = f"{detail}, {name} not accepted"
            return Fault(ErrorClass.BAD_REQUEST, text, status=status, rejected=name)
    for phrases, error_class in _LATE_REFUSALS:
        if wording.has(said, phrases):
            return Fault(error_class, detail, status=status)
    return Fault(ErrorClass.BAD_REQUEST, detail, status=status)
