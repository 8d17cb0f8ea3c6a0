from __future__ import annotations

from datetime import UTC, datetime

import pytest

from providers.gateway.errors import (
    TRAITS,
    CallError,
    ErrorClass,
    classify_response,
    parse_retry_after,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
E = ErrorClass


def openai(code: str | None, message: str, kind: str = "", param: str | None = None) -> dict:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


# Shapes as documented or seen: OpenAI, Azure, Anthropic's compatibility layer, Mistral, vLLM,
# Ollama, llama.cpp server, Groq, OpenRouter, LiteLLM proxy.
SHAPES = [
    (401, {}, openai("invalid_api_key", "Incorrect API key provided: sk-abc"), E.AUTH),
    (401, {}, {"message": "Unauthorized", "request_id": "1"}, E.AUTH),
    (403, {}, openai("unsupported_country_region_territory", "not supported"), E.PERMISSION),
    (403, {}, openai("model_not_found", "Project does not have access to model"), E.NOT_FOUND),
    (404, {}, openai("model_not_found", "The model `x` does not exist"), E.NOT_FOUND),
    (404, {}, {"error": "model 'llama9' not found, try pulling it first"}, E.NOT_FOUND),
    (404, {}, None, E.NOT_FOUND),
    (405, {}, None, E.NOT_FOUND),
    (301, {}, None, E.NOT_FOUND),
    (402, {}, openai("402", "Insufficient credits"), E.QUOTA),
    (429, {}, openai("insufficient_quota", "You exceeded your current quota"), E.QUOTA),
    (429, {"retry-after": "3"}, openai("insufficient_quota", "quota"), E.QUOTA),
    (429, {}, openai("rate_limit_exceeded", "Rate limit reached for gpt-4o"), E.RATE_LIMIT),
    (429, {"retry-after": "2"}, None, E.RATE_LIMIT),
    (429, {"x-ratelimit-remaining-requests": "0"}, None, E.RATE_LIMIT),
    (429, {}, {"message": "Requests rate limit exceeded"}, E.RATE_LIMIT),
    (429, {}, None, E.QUOTA),
    (400, {}, openai("context_length_exceeded", "maximum context length"), E.CONTEXT_LENGTH),
    (
        400,
        {},
        {
            "object": "error",
            "message": "This model's maximum context length is 4096 tokens.",
            "type": "BadRequestError",
            "code": 400,
        },
        E.CONTEXT_LENGTH,
    ),
    (
        400,
        {},
        {
            "error": {
                "code": 400,
                "message": "the request exceeds the available context size",
                "type": "exceed_context_size_error",
            }
        },
        E.CONTEXT_LENGTH,
    ),
    (413, {}, None, E.CONTEXT_LENGTH),
    (
        400,
        {},
        openai("content_filter", "filtered due to Azure's content management policy"),
        E.CONTENT_FILTER,
    ),
    (400, {}, openai(None, "Your credit balance is too low to access the API"), E.QUOTA),
    (400, {}, openai("model_not_found", "the model does not exist"), E.NOT_FOUND),
    (400, {}, openai(None, "messages must not be empty"), E.BAD_REQUEST),
    (422, {}, {"detail": [{"loc": ["body", "x"], "msg": "extra"}]}, E.BAD_REQUEST),
    (400, {}, [{"error": {"code": 400, "message": "Invalid JSON payload"}}], E.BAD_REQUEST),
    (408, {}, None, E.TIMEOUT),
    (500, {}, openai("server_error", "The server had an error"), E.SERVER),
    (502, {}, None, E.SERVER),
    (503, {"retry-after": "1"}, openai(None, "overloaded"), E.SERVER),
    (504, {}, None, E.TIMEOUT),
    (529, {}, {"type": "error", "error": {"type": "overloaded_error"}}, E.SERVER),
    (418, {}, None, E.BAD_REQUEST),
]


@pytest.mark.parametrize(("status", "headers", "body", "expected"), SHAPES)
def test_class_of_recorded_shapes(
    status: int, headers: dict[str, str], body: object, expected: ErrorClass
) -> None:
    assert classify_response(status, headers, body, NOW).error_class is expected


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
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert parse_retry_after(headers, NOW) == seconds


def test_every_class_says_how_it_is_handled() -> None:
    assert set(TRAITS) == set(ErrorClass)
    fatal = {one for one in ErrorClass if TRAITS[one].fatal}
    assert fatal == {E.AUTH, E.PERMISSION, E.QUOTA, E.NOT_FOUND, E.BUDGET}
    assert not any(TRAITS[one].retryable for one in fatal)
    assert CallError(E.AUTH).message == TRAITS[E.AUTH].text
