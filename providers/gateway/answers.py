"""From a model's text to a checked JSON object, and what to say when it is not one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Literal

import jsonschema_rs

from providers.gateway.types import ChatCall, ChatMessage

Problem = Literal["", "unreadable", "truncated", "invalid"]

ECHO_CHARS = 4000
"""How much of a wrong answer is shown back to the model."""

_FENCE = re.compile(r"```(?:json)?\s*(\{.*?\})\s*```", re.DOTALL | re.IGNORECASE)
_THOUGHT = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_SURROGATE = re.compile(r"\\u[dD][89abAB]")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


@dataclass(frozen=True, slots=True)
class Reading:
    """A model's text as read: the object, or the problem with it in words."""

    data: Mapping[str, Any] | None
    problem: Problem = ""
    message: str = ""


def read_answer(text: str, finish_reason: str, schema_text: str) -> Reading:
    """Read and check the first JSON object of a text.

    The text may carry prose, code fences or a reasoning block around the object.
    """
    data = _first_object(text)
    if data is None:
        if finish_reason == "length" or _looks_cut(text):
            return Reading(None, "truncated", "the JSON ends before it is complete")
        if not text.strip():
            return Reading(None, "unreadable", "the answer is empty")
        return Reading(None, "unreadable", "the answer holds no JSON object")
    message = _violations(data, schema_text)
    return Reading(None, "invalid", message) if message else Reading(data)


def _violations(data: dict[str, Any], schema_text: str) -> str:
    """The first five violations in words, empty when there are none."""
    validator = _validator(schema_text)
    try:
        if validator.is_valid(data):
            return ""
        found = islice(validator.iter_errors(data), 5)
        return "; ".join(f"{_place(error.instance_path)}: {error.message[:200]}" for error in found)
    except ValueError:
        return "the answer is nested too deeply"


def check_schema(schema_text: str) -> None:
    """Compile a schema; raises ``ValueError`` when it is none."""
    _validator(schema_text)


def repair_call(call: ChatCall, answer: str, message: str, schema_text: str) -> ChatCall:
    """The same question again, with the wrong answer and what was wrong with it."""
    complaint = (
        f"That answer cannot be used: {message}. "
        f"Answer again with one JSON object and nothing else. {schema_note(schema_text)}"
    )
    return ChatCall(
        purpose=call.purpose,
        messages=(
            *call.messages,
            ChatMessage("assistant", answer[:ECHO_CHARS] or "(no answer)"),
            ChatMessage("user", complaint),
        ),
        schema=call.schema,
        prompt_version=call.prompt_version,
        payload=call.payload,
        max_tokens=call.max_tokens,
        temperature=call.temperature,
    )


def schema_note(schema_text: str) -> str:
    """The instruction that carries the schema in text."""
    return f"The object must satisfy this JSON Schema:\n{schema_text}"


def with_schema_in_text(
    messages: tuple[ChatMessage, ...], schema_text: str
) -> tuple[ChatMessage, ...]:
    """The messages for a server without JSON-schema support."""
    note = f"Answer with one JSON object and nothing else. {schema_note(schema_text)}"
    if messages and messages[0].role == "system":
        first = ChatMessage("system", f"{messages[0].content}\n\n{note}")
        return (first, *messages[1:])
    return (ChatMessage("system", note), *messages)


@lru_cache(maxsize=256)
def _validator(schema_text: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(json.loads(schema_text), offline=True, mask="the value")


def _first_object(text: str) -> dict[str, Any] | None:
    found = _decode(text, 0)
    if found is not None:
        return found
    text = _THOUGHT.sub("", text)
    fenced = _FENCE.search(text)
    if fenced is not None:
        found = _decode(fenced.group(1), 0)
    start = text.find("{")
    tries = 0
    while found is None and start >= 0 and tries < 20:
        found = _decode(text, start)
        start = text.find("{", start + 1)
        tries += 1
    return found


def _decode(text: str, start: int) -> dict[str, Any] | None:
    """The object that begins at or, after white space, behind ``start``.

    NaN and infinities are refused. Half a surrogate pair, which JSON can spell and no encoding
    can carry, becomes a question mark.
    """
    try:
        value, _ = _DECODER.raw_decode(text.lstrip() if start == 0 else text, start)
        if isinstance(value, dict) and _SURROGATE.search(text):
            whole = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
            value = json.loads(whole)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _looks_cut(text: str) -> bool:
    """Whether the text opens an object that it never closes."""
    start = text.find("{")
    if start < 0:
        return False
    try:
        _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        return error.pos >= len(text.rstrip()) - 1 or "Unterminated" in error.msg
    except (ValueError, RecursionError):
        return False
    return False


def _place(path: list[str | int]) -> str:
    return "/".join(str(part) for part in path) or "top"
