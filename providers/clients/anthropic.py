"""Anthropic's own Messages API.

Field names, errors and events are those of Anthropic's API reference ("Messages", "Streaming
messages", "Errors", "Tool use"). A JSON schema is asked for by a single tool that the model is made
to use, which every Claude model takes; the tool's input is then the answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from typing import Any

from providers.clients.listing import fetch_models
from providers.clients.openai_compatible import encodable
from providers.clients.reading import count
from providers.clients.streaming import BROKEN, begun, event_data
from providers.clients.wire import NO_HEADERS, Limits, Wire, parse_json, utc_now
from providers.gateway.catalogue import ModelInfo
from providers.gateway.errors import ErrorClass, Fault, classify_response
from providers.gateway.quota import read_quota
from providers.gateway.types import Deployment, StreamPiece, WireAnswer, WireChat, WireVectors

VERSION_HEADERS: Mapping[str, str] = {"anthropic-version": "2023-06-01"}
"""The one version of the API (its reference, "Versions")."""

AUTH = "x-api-key"

MESSAGES = "/messages"

NOT_A_MESSAGE = "the answer is not one of Anthropic's Messages API"

FINISHES: Mapping[str, str] = {
    "end_turn": "stop",
    "tool_use": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
"""Why an answer ended, in the words the gateway uses ("Handling stop reasons")."""

STATUSES: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The status each sort of error has, for errors inside a stream or a batch ("Errors")."""

TRIAL_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
}

_NAME = re.compile(r"[^a-zA-Z0-9_-]+")


class AnthropicClient:
    """Implements :class:`providers.gateway.types.Client`."""

    def __init__(self, *, now: Callable[[], datetime] = utc_now) -> None:
        self.wire = Wire(VERSION_HEADERS, now=now)

    async def chat(self, deployment: Deployment, wire: WireChat) -> WireAnswer:
        """Send one message. Raises :class:`Fault`."""
        now = self.wire.now()
        body = message_body(deployment.model, wire)
        reply = await self.wire.post(keyed(deployment), MESSAGES, body, Limits.of(deployment, wire))
        return read_message(reply.object, now, reply.headers)

    async def stream(self, deployment: Deployment, wire: WireChat) -> AsyncIterator[StreamPiece]:
        """Send one message and give its text as it comes. Raises :class:`Fault`."""
        body = {**message_body(deployment.model, wire), "stream": True}
        reader = EventReader(self.wire.now())
        limits = Limits.of(deployment, wire)
        async with aclosing(self.wire.lines(keyed(deployment), MESSAGES, body, limits)) as lines:
            async for line, headers in lines:
                piece = reader.read(line, headers)
                if piece:
                    yield StreamPiece(piece)
        yield StreamPiece(end=reader.end())

    async def embed(
        self, deployment: Deployment, texts: Sequence[str], *, base64: bool, timeout: float
    ) -> WireVectors:
        """Anthropic has no embeddings; raises :class:`Fault`."""
        raise Fault(ErrorClass.BAD_REQUEST, "Anthropic offers no embeddings", sent=False)

    async def models(self, deployment: Deployment) -> list[ModelInfo]:
        """The models the key may use, by name ("List Models"). Raises :class:`Fault`."""
        found = await fetch_models(self.wire, keyed(deployment), "/models?limit=1000")
        return [replace(one, embeds=False, tools=True) for one in found]

    async def takes_tools(self, deployment: Deployment, wire: WireChat) -> bool:
        """Whether the model calls a tool when made to. Raises :class:`Fault`."""
        answer = await self.chat(deployment, replace(wire, schema=TRIAL_SCHEMA))
        return answer.text.startswith("{")

    async def find(self, deployment: Deployment, name: str) -> WireAnswer | None:
        """Anthropic keeps no answers to look up."""
        return None

    async def aclose(self) -> None:
        """Close every connection."""
        await self.wire.aclose()


def keyed(deployment: Deployment) -> Deployment:
    """The deployment with its key in Anthropic's header, however it was set up."""
    return deployment if deployment.auth == AUTH else replace(deployment, auth=AUTH)


def message_body(model: str, wire: WireChat) -> dict[str, Any]:
    """The request as the API reference describes "Create a Message".

    System messages go into a field of their own; the first of the others must be the user's.
    """
    system = [encodable(one.content) for one in wire.messages if one.role == "system"]
    turns = [
        {"role": one.role, "content": encodable(one.content)}
        for one in wire.messages
        if one.role != "system"
    ]
    if not turns:
        turns, system = [{"role": "user", "content": "\n\n".join(system)}], []
    body: dict[str, Any] = {"model": model, "max_tokens": wire.max_tokens, "messages": turns}
    if system:
        body["system"] = "\n\n".join(system)
    if wire.temperature is not None:
        body["temperature"] = min(1.0, wire.temperature)
    if wire.schema is not None:
        name = _NAME.sub("_", wire.purpose)[:64] or "answer"
        described = "Gives the answer in the form asked for."
        body["tools"] = [{"name": name, "description": described, "input_schema": wire.schema}]
        body["tool_choice"] = {"type": "tool", "name": name}
    return body


def read_message(
    body: Mapping[str, Any], now: datetime, headers: Mapping[str, str] = NO_HEADERS
) -> WireAnswer:
    """An answer's text, or the tool's input as JSON. Raises :class:`Fault` when there is none."""
    fault = read_error(body, now)
    if fault is not None:
        raise fault
    content = body.get("content")
    if not isinstance(content, list):
        raise Fault(ErrorClass.SERVER, NOT_A_MESSAGE, status=200)
    blocks = [block for block in content if isinstance(block, Mapping)]
    inputs = [block["input"] for block in blocks if isinstance(block.get("input"), Mapping)]
    texts = [block["text"] for block in blocks if isinstance(block.get("text"), str)]
    answer = WireAnswer(
        text=json.dumps(inputs[0], ensure_ascii=False) if inputs else "".join(texts),
        finish_reason=_finish(body.get("stop_reason")),
        model=str(body.get("model") or "")[:200],
        quota=read_quota(headers, now),
        **_tokens(body.get("usage")),
    )
    return _passed(answer)


def read_error(body: Mapping[str, Any], now: datetime) -> Fault | None:
    """The fault an error object stands for, by its type; ``None`` for anything else."""
    error = body.get("error")
    if body.get("type") != "error" or not isinstance(error, Mapping):
        return None
    status = STATUSES.get(str(error.get("type")), 500)
    return classify_response(status, NO_HEADERS, body, now)


class EventReader:
    """Reads one streamed message; feed it lines, then ask for the end."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._headers: Mapping[str, str] = {}
        self._answer = WireAnswer(text="", finish_reason="")
        self._began = False

    def read(self, line: bytes, headers: Mapping[str, str]) -> str:
        """The text in a line. Raises :class:`Fault` for an error the server reports in it."""
        self._headers = headers
        data = event_data(line)
        if data is None:
            return ""
        event = parse_json(data)
        if not isinstance(event, dict):
            raise Fault(ErrorClass.SERVER, NOT_A_MESSAGE, status=200)
        fault = read_error(event, self._now)
        if fault is not None:
            raise begun(fault)
        return self._event(event)

    def end(self) -> WireAnswer:
        """How the answer ended. Raises :class:`Fault` if it is not whole."""
        if not self._began:
            raise Fault(ErrorClass.SERVER, NOT_A_MESSAGE, status=200)
        if not self._answer.finish_reason:
            raise Fault(ErrorClass.NETWORK, BROKEN)
        return replace(_passed(self._answer), quota=read_quota(self._headers, self._now))

    def _event(self, event: Mapping[str, Any]) -> str:
        kind = event.get("type")
        if kind == "message_start" and isinstance(event.get("message"), Mapping):
            self._began = True
            message = event["message"]
            model = str(message.get("model") or "")[:200]
            self._answer = replace(self._answer, model=model, **_tokens(message.get("usage")))
        elif kind == "message_delta":
            self._ending(event)
        elif kind == "content_block_delta" and isinstance(event.get("delta"), Mapping):
            delta = event["delta"]
            text = delta.get("text") or delta.get("partial_json")
            return text if isinstance(text, str) else ""
        return ""

    def _ending(self, event: Mapping[str, Any]) -> None:
        delta, usage = event.get("delta"), event.get("usage")
        if isinstance(delta, Mapping) and delta.get("stop_reason"):
            self._answer = replace(self._answer, finish_reason=_finish(delta["stop_reason"]))
        if isinstance(usage, Mapping):
            self._answer = replace(self._answer, tokens_out=count(usage.get("output_tokens")))


def _finish(reason: Any) -> str:
    return FINISHES.get(str(reason), "stop")


def _passed(answer: WireAnswer) -> WireAnswer:
    if answer.finish_reason == "content_filter":
        raise Fault(ErrorClass.CONTENT_FILTER, "the answer was withheld")
    return answer


def _tokens(usage: Any) -> dict[str, Any]:
    """Tokens as the gateway counts them: here the cached ones are told beside the others.

    "Prompt caching": the whole input is read from the cache, written to it, and neither.
    """
    if not isinstance(usage, Mapping):
        return {}
    cached = count(usage.get("cache_read_input_tokens"))
    written = count(usage.get("cache_creation_input_tokens"))
    return {
        "tokens_in": count(usage.get("input_tokens")) + cached + written,
        "tokens_out": count(usage.get("output_tokens")),
        "tokens_cached": cached,
    }
