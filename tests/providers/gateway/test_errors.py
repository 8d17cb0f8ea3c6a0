from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Headers

from providers.clients.reading import read_error
from providers.gateway.errors import TRAITS, CallError, ErrorClass, Fault, classify_response
from providers.gateway.wording import ADAPTABLE, LONGEST_WAIT, parse_retry_after, told_wait

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
E = ErrorClass


RECORDED = Path(__file__).parents[1] / "clients" / "recorded" / "errors.json"
SHAPES: list[dict[str, Any]] = json.loads(RECORDED.read_text("utf-8"))
"""What providers and the machines in front of them answer, from their manuals and as seen. A body
that is a string is a page, not JSON."""

OURS = {one.value for one in ErrorClass} | {name for name, _ in ADAPTABLE}
"""Words of our own that servers happen to use too."""

PROMISED = {
    "openai",
    "azure",
    "anthropic",
    "google",
    "mistral",
    "openrouter",
    "groq",
    "together",
    "ollama",
    "vllm",
    "lmstudio",
    "llama.cpp",
    "litellm",
    "pages",
}


def openai(code: str | None, message: str, kind: str = "", param: str | None = None) -> dict:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def fault_of(shape: dict[str, Any]) -> Fault:
    body = None if isinstance(shape["body"], str) else shape["body"]
    if shape.get("inside"):
        found = read_error(body, NOW)
        assert found is not None
        return found
    return classify_response(shape["status"], Headers(shape["headers"]), body, NOW)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda one: f"{one['provider']}: {one['name']}")
def test_class_of_recorded_answers(shape: dict[str, Any]) -> None:
    fault = fault_of(shape)
    assert fault.error_class.value == shape["class"]
    told = shape["retry_after"]
    assert fault.retry_after == (None if told is None else pytest.approx(told))
    assert fault.unsure == shape.get("unsure", False)
    assert fault.rejected == shape.get("rejected", "")


@pytest.mark.parametrize("shape", SHAPES, ids=lambda one: f"{one['provider']}: {one['name']}")
def test_nothing_a_server_wrote_is_repeated(shape: dict[str, Any]) -> None:
    fault = fault_of(shape)
    shown = f"{fault!r} {fault} {fault.detail}".lower()
    body = shape["body"] if isinstance(shape["body"], str) else json.dumps(shape["body"])
    for word in re.findall(r"[a-z0-9_/.-]{12,}", body.lower()):
        assert word in OURS or word not in shown


def test_every_promised_server_is_in_the_table() -> None:
    assert {shape["provider"] for shape in SHAPES} == PROMISED
    seen = {ErrorClass(shape["class"]) for shape in SHAPES}
    assert seen >= set(ErrorClass) - {E.CANCELLED, E.BUDGET}


HANDLING = {
    # class: (retried at the same target, tried at another, stops everything, what is at fault)
    E.NETWORK: (True, True, False, "provider"),
    E.TIMEOUT: (True, True, False, "provider"),
    E.SERVER: (True, True, False, "provider"),
    E.RATE_LIMIT: (True, True, False, "key"),
    E.QUOTA: (False, True, True, "key"),
    E.AUTH: (False, True, True, "key"),
    E.PERMISSION: (False, True, True, "key"),
    E.NOT_FOUND: (False, True, True, "model"),
    E.CONTEXT_LENGTH: (False, True, False, "call"),
    E.CONTENT_FILTER: (False, False, False, "call"),
    E.BAD_REQUEST: (False, False, False, "call"),
    E.BAD_ANSWER: (False, True, False, "call"),
    E.CANCELLED: (False, False, False, "call"),
    E.BUDGET: (False, False, True, "call"),
}


@pytest.mark.parametrize("error_class", ErrorClass)
def test_how_each_class_is_handled(error_class: ErrorClass) -> None:
    traits = TRAITS[error_class]
    handled = (traits.retryable, traits.elsewhere, traits.fatal, traits.scope)
    assert handled == HANDLING[error_class]
    assert traits.text[0].isupper()
    assert traits.text.endswith(".")
    assert len({one.text for one in TRAITS.values()}) == len(TRAITS)


@pytest.mark.parametrize(
    ("message", "rejected"),
    [
        (
            "'response_format' of type json_schema is not supported with this model",
            "response_format",
        ),
        ("guided_json is not available", "response_format"),
        ("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", "max_tokens"),
        ("Unsupported value: 'temperature' does not support 0", "temperature"),
        ("encoding_format base64 unsupported", "encoding_format"),
    ],
)
def test_names_the_parameter_a_server_refused(message: str, rejected: str) -> None:
    assert classify_response(400, {}, openai(None, message), NOW).rejected == rejected


def test_a_429_that_says_nothing_is_unsure() -> None:
    assert classify_response(429, {}, None, NOW).unsure
    assert not classify_response(429, {"retry-after": "1"}, None, NOW).unsure
    assert not classify_response(429, {"retry-after": "in a while"}, None, NOW).unsure


def test_what_a_server_wrote_is_never_repeated() -> None:
    secret = "Incorrect API key provided: sk-abcdef"
    for status in (400, 401, 403, 404, 429, 500):
        fault = classify_response(status, {}, openai("x", secret), NOW)
        assert "sk-abcdef" not in f"{fault!r} {fault} {fault.detail}"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Sun, 01 Mar 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sun, 01 Mar 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-4"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e9"}, LONGEST_WAIT),
        ({"retry-after": "Fri, 01 Jan 9999 00:00:00 GMT"}, LONGEST_WAIT),
        ({"retry-after": "9" * 5000}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert parse_retry_after(headers, NOW) == seconds


def test_a_call_s_error_says_what_its_class_means() -> None:
    assert CallError(E.AUTH).message == TRAITS[E.AUTH].text
    assert CallError(E.AUTH).fatal
    assert not CallError(E.AUTH, fatal=False).fatal


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("please try again in 6ms. visit", 0.006),
        ("please try again in 1m2.5s.", 62.5),
        ("please retry after 26 seconds", 26.0),
        ("retrydelay': '34s'", 34.0),
        ("try again in 99999999999999s", None),
        ("try again in 5 minutes", None),
        ("try again later", None),
        ("retry " * 500, None),
    ],
)
def test_a_wait_told_in_a_sentence(said: str, seconds: float | None) -> None:
    assert told_wait(said) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("body", [None, 7, [], [7], {}, {"error": 7}, {"error": {"code": []}}])
@pytest.mark.parametrize("status", [*range(300, 600, 7), 400, 402, 403, 404, 413, 422, 429])
def test_any_answer_has_a_class(status: int, body: object) -> None:
    fault = classify_response(status, {"retry-after": "\x00"}, body, NOW)
    assert fault.status == status
    assert fault.detail
