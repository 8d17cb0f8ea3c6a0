"""What a server's chat answer says: text, why it ended, tokens, or the error it carries.

Read with care for every field: servers leave fields out, add others and change their types.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from providers.clients.wire import NO_HEADERS, NOT_COMPATIBLE
from providers.gateway.errors import ErrorClass, Fault, classify_response
from providers.gateway.quota import read_quota
from providers.gateway.types import WireAnswer


def read_chat(
    body: Mapping[str, Any], now: datetime, headers: Mapping[str, str] = NO_HEADERS
) -> WireAnswer:
    """The first choice of an answer. Raises :class:`Fault` when there is none."""
    fault = read_error(body, now)
    if fault is not None:
        raise fault
    try:
        choice = body["choices"][0]
        message = choice["message"]
        text = text_of(message.get("content"))
    except (KeyError, IndexError, TypeError, AttributeError):
        raise Fault(ErrorClass.SERVER, NOT_COMPATIBLE) from None
    finish = choice.get("finish_reason")
    if finish == "content_filter" or (not text and message.get("refusal")):
        raise Fault(ErrorClass.CONTENT_FILTER, "the answer was withheld")
    return WireAnswer(
        text=text,
        finish_reason=finish if isinstance(finish, str) else "stop",
        quota=read_quota(headers, now),
        **read_usage(body),
    )


def read_error(body: Mapping[str, Any], now: datetime) -> Fault | None:
    """The fault inside a 200: some routers answer so, with a code that stands for the status."""
    error = body.get("error")
    if not error:
        return None
    code = error.get("code") if isinstance(error, Mapping) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    return classify_response(status, NO_HEADERS, body, now)


def read_usage(body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of :class:`WireAnswer` for tokens and model; none where nothing was told.

    OpenAI's API reference, "usage": cached tokens are part of the prompt's, reasoning tokens of
    the completion's. DeepSeek tells the cached ones as ``prompt_cache_hit_tokens``.
    """
    found: dict[str, Any] = {}
    if body.get("model"):
        found["model"] = str(body["model"])[:200]
    usage = body.get("usage")
    if not isinstance(usage, Mapping):
        return found
    sent, written = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    cached = sent.get("cached_tokens") if isinstance(sent, Mapping) else None
    thought = written.get("reasoning_tokens") if isinstance(written, Mapping) else None
    found["tokens_in"] = count(usage.get("prompt_tokens"))
    found["tokens_out"] = count(usage.get("completion_tokens"))
    found["tokens_cached"] = min(
        count(usage.get("prompt_cache_hit_tokens") if cached is None else cached),
        found["tokens_in"],
    )
    found["tokens_reasoning"] = min(count(thought), found["tokens_out"])
    return found


def text_of(content: Any) -> str:
    """A message's text: a string, nothing, or a list of parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content)


def count(value: Any) -> int:
    """A number of tokens; anything that cannot be one is 0."""
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0
