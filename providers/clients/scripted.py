"""A provider that follows a script: for tests, demonstrations and benchmarks.

A scenario says how often what happens; what happens to a given request is decided by the seed,
the request's own text and how often it came before, never by the order of arrival, so that a
run can be repeated.
"""

from __future__ import annotations

import asyncio
import base64 as b64
import hashlib
import json
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import numpy as np

from providers.clients import plausible
from providers.clients.meter import Meter
from providers.clients.openai_compatible import (
    KEPT_AS,
    chat_body,
    read_chat,
    read_kept,
    read_vectors,
)
from providers.clients.scenario import Act, BatchScript, Scenario, Step, load_scenario
from providers.clients.streaming import BROKEN
from providers.clients.wire import NOT_COMPATIBLE
from providers.gateway.catalogue import ModelInfo, read_models
from providers.gateway.errors import ErrorClass, Fault, classify_response
from providers.gateway.types import Deployment, StreamPiece, WireAnswer, WireChat, WireVectors

__all__ = [
    "Act",
    "BatchScript",
    "Scenario",
    "Script",
    "ScriptedClient",
    "Step",
    "load_scenario",
    "rough_tokens",
]

MOST_KEPT = 100_000
"""Completions a scripted provider stores."""


def rough_tokens(text: str) -> int:
    """About four characters make a token in English."""
    return len(text) // 4


TAIL_SHAPE, LONGEST_TAIL = 1.5, 60.0
"""A slow tail is drawn from a Pareto distribution of this shape, and cut at so many times its
least: one call in thirty takes ten times as long."""

_TOKEN = re.compile(r"\s*\S{1,6}|\s+")

MESSAGE_TOKENS, REPLY_TOKENS = 4, 3
"""Around each message, and before the answer (OpenAI's cookbook, "How to count tokens")."""


class Script:
    """Decides what happens and makes the answers; counts what it was asked.

    ``count`` gives the tokens of a text, ``clock`` seconds that only grow.
    """

    def __init__(
        self,
        scenario: Scenario,
        count: Callable[[str], int] = rough_tokens,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.scenario = scenario
        self.meter = Meter(scenario.requests_per_minute, scenario.tokens_per_minute, clock)
        self._count = count
        self.requests = 0
        self.acts: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.kept: dict[str, dict[str, Any]] = {}

    def next_step(self, body: Mapping[str, Any]) -> Step:
        """What happens to this request, with its whole latency in ``seconds``."""
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        arrival, again = self.requests, self.seen[digest]
        self.requests += 1
        self.seen[digest] += 1
        counted = self.scenario.tokens_per_minute
        wait = self.meter.take(self._asked(body.get("messages") or (), None) if counted else 0)
        if wait:
            self.acts[Act.RATE_LIMIT.value] += 1
            return Step(act=Act.RATE_LIMIT, retry_after=round(wait, 2))
        draw = random.Random(f"{self.scenario.seed}:{digest}:{again}")  # noqa: S311 - a script
        mix = self.scenario.steps(arrival)
        step = draw.choices(mix, [one.weight for one in mix])[0]
        self.acts[step.act.value] += 1
        seconds = step.seconds
        if step.act is Act.SLOW_TAIL:
            seconds *= min(draw.paretovariate(TAIL_SHAPE), LONGEST_TAIL)
        latency = self.scenario.latency + draw.uniform(0, self.scenario.jitter)
        return step.model_copy(update={"seconds": seconds + latency})

    def refusal(
        self, step: Step, body: Mapping[str, Any]
    ) -> tuple[int, dict[str, str], Any] | None:
        """Status, headers and body of an answer other than 200, if the step or request asks it."""
        if step.act in _STATUS:
            status, code, message = _STATUS[step.act]
            headers = self.meter.headers()
            if step.act is Act.RATE_LIMIT and step.retry_after is not None:
                headers["Retry-After"] = f"{step.retry_after:g}"
            return status, headers, _error(code, message)
        unknown = self._unknown_parameter(body)
        if unknown:
            return 400, {}, _error("unsupported_parameter", f"{unknown} is not supported", unknown)
        return None

    def _unknown_parameter(self, body: Mapping[str, Any]) -> str:
        refused = []
        if not self.scenario.json_schema:
            refused.append("response_format")
        if not self.scenario.tools:
            refused.append("tools")
        if not self.scenario.streaming:
            refused.append("stream")
        if self.scenario.reasoning:
            refused += ["max_tokens", "temperature"]
        if not self.scenario.base64 and body.get("encoding_format") == "base64":
            refused.append("encoding_format")
        return next((name for name in refused if name in body), "")

    def chat(self, step: Step, body: Mapping[str, Any]) -> dict[str, Any]:
        """A chat completion, sound or spoiled as the step says."""
        messages = body.get("messages") or []
        wanted = body.get("response_format") or {}
        schema = (wanted.get("json_schema") or {}).get("schema") or _schema_in_text(messages)
        answer = json.dumps(plausible.answer(messages, schema), ensure_ascii=False)
        text, finish = _spoiled(answer, step.act)
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if body.get("tools") and step.act is not Act.TOOL_ERROR:
            message, finish = _tool_call(body["tools"][0]), "tool_calls"
        usage = {
            "prompt_tokens": self._asked(messages, (wanted.get("json_schema") or {}).get("schema")),
            "completion_tokens": self._count(text) + 1,
        }
        made = {
            "id": f"chatcmpl-scripted-{self.requests}-{len(self.kept)}",
            "object": "chat.completion",
            "created": 0,
            "model": body.get("model", ""),
            "choices": [
                {
                    "index": 0,
                    "message": message,
                    "finish_reason": finish,
                }
            ],
            "usage": usage if self.scenario.usage else None,
        }
        if body.get("store"):
            self._keep(made, body.get("metadata") or {})
        return made

    def _keep(self, made: dict[str, Any], metadata: Mapping[str, Any]) -> None:
        """Store a completion, as OpenAI does with ``store``; the newest so many are kept."""
        self.kept[made["id"]] = {**made, "metadata": dict(metadata)}
        if len(self.kept) > MOST_KEPT:
            self.kept.pop(next(iter(self.kept)))

    def chunks(self, made: Mapping[str, Any], wanted: bool) -> Iterator[dict[str, Any]]:
        """A completion as the chunks of a stream: about a token each, then how it ended.

        ``wanted``: the request asked for the usage, which comes last.
        """
        choice = made["choices"][0]
        base = {**{key: made[key] for key in ("id", "created", "model")}, "object": CHUNK}
        for token in _TOKEN.findall(choice["message"].get("content") or ""):
            yield {**base, "choices": [_delta({"content": token}, None)]}
        yield {**base, "choices": [_delta({}, choice["finish_reason"])]}
        if wanted and made["usage"]:
            yield {**base, "choices": [], "usage": made["usage"]}

    def models(self) -> dict[str, Any]:
        """The list of models, with the context length as vLLM tells it."""
        length = {"max_model_len": self.scenario.context_tokens}
        listed = [
            {"id": name, "object": "model", "owned_by": "scripted", **length}
            for name in self.scenario.models
        ]
        return {"object": "list", "data": listed}

    def find(self, wanted: Mapping[str, str], limit: int = 20) -> list[dict[str, Any]]:
        """Stored completions whose metadata has all that is wanted, oldest first."""
        found = (
            kept
            for kept in self.kept.values()
            if all(kept["metadata"].get(key) == value for key, value in wanted.items())
        )
        return list(islice(found, limit))

    def _asked(self, messages: Sequence[Mapping[str, Any]], schema: Any) -> int:
        """Tokens of a request, its schema among them, as OpenAI bills them."""
        said = sum(self._count(str(row.get("content"))) + MESSAGE_TOKENS for row in messages)
        return said + REPLY_TOKENS + (self._count(json.dumps(schema)) if schema else 0)

    def embeddings(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Vectors by feature hashing, so that texts with common words are near each other."""
        given = body.get("input") or []
        texts = [given] if isinstance(given, str) else [str(text) for text in given]
        rows = [plausible.vector(text, self.scenario.width) for text in texts]
        packed = body.get("encoding_format") == "base64"
        return {
            "object": "list",
            "model": body.get("model", ""),
            "data": [
                {"object": "embedding", "index": i, "embedding": _packed(row) if packed else row}
                for i, row in enumerate(rows)
            ],
            "usage": {"prompt_tokens": sum(self._count(text) for text in texts)}
            if self.scenario.usage
            else None,
        }


_STATUS: Mapping[Act, tuple[int, str, str]] = {
    Act.RATE_LIMIT: (429, "rate_limit_exceeded", "Rate limit reached for requests"),
    Act.QUOTA: (429, "insufficient_quota", "You exceeded your current quota"),
    Act.UNAUTHORIZED: (401, "invalid_api_key", "Incorrect API key provided"),
    Act.NOT_FOUND: (404, "model_not_found", "The model does not exist"),
    Act.CONTEXT_LENGTH: (400, "context_length_exceeded", "maximum context length is 8192 tokens"),
    Act.CONTENT_FILTER: (400, "content_filter", "The response was filtered"),
    Act.TOOL_ERROR: (400, "tool_use_failed", "Failed to call a function"),
    Act.SERVER_ERROR: (500, "server_error", "The server had an error"),
}


def _error(code: str, message: str, param: str | None = None) -> dict[str, Any]:
    """An error in the shape of OpenAI's API reference, "Error codes"."""
    return {"error": {"message": message, "type": code, "param": param, "code": code}}


CHUNK = "chat.completion.chunk"


def _delta(delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish}


def _tool_call(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A message that calls a tool with an input that fits it."""
    function = tool.get("function") or {}
    arguments = json.dumps(plausible.answer((), function.get("parameters") or {}))
    called = {"name": function.get("name", ""), "arguments": arguments}
    calls = [{"id": "call-1", "type": "function", "function": called}]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def _spoiled(text: str, act: Act) -> tuple[str, str]:
    if act is Act.INVALID_JSON:
        return "Sure, here is what I think about it.", "stop"
    if act is Act.TRUNCATED:
        return text[: len(text) // 2], "length"
    if act is Act.EMPTY:
        return "", "stop"
    if act is Act.WRONG_SCHEMA:
        return '{"unexpected": true}', "stop"
    return text, "stop"


def _schema_in_text(messages: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The schema a prompt carries where ``response_format`` is not supported."""
    marker = "JSON Schema:\n"
    for message in messages:
        text = str(message.get("content") or "")
        if marker in text:
            try:
                found = json.JSONDecoder().raw_decode(text.split(marker, 1)[1])[0]
            except ValueError:
                return None
            return found if isinstance(found, dict) else None
    return None


def _packed(row: Sequence[float]) -> str:
    return b64.b64encode(np.asarray(row, dtype="<f4").tobytes()).decode("ascii")


class ScriptedClient:
    """The scripted provider inside the process: a gateway client without a network.

    ``count`` gives the tokens of a text for the usage it reports.
    """

    def __init__(
        self, scenario: Scenario | None = None, count: Callable[[str], int] = rough_tokens
    ) -> None:
        self.script = Script(scenario or Scenario(), count)

    async def chat(self, deployment: Deployment, wire: WireChat) -> WireAnswer:
        """Answer a chat call as the script says. Raises :class:`Fault`."""
        body = chat_body(deployment.model, wire)
        step = await self._play(deployment, body, wire.first_byte)
        if step.act is Act.DROP_MIDWAY:
            raise Fault(ErrorClass.NETWORK, BROKEN)
        made = self.script.chat(step, body)
        return read_chat(made, datetime.now(UTC), self.script.meter.headers())

    async def stream(self, deployment: Deployment, wire: WireChat) -> AsyncIterator[StreamPiece]:
        """Answer a chat call about a token at a time. Raises :class:`Fault`."""
        body = {**chat_body(deployment.model, wire), "stream": True}
        step = await self._play(deployment, body, wire.first_byte)
        made = self.script.chat(step, body)
        answer = read_chat(made, datetime.now(UTC), self.script.meter.headers())
        for place, token in enumerate(_TOKEN.findall(answer.text)):
            if step.act is Act.DROP_MIDWAY and place == step.tokens:
                raise Fault(ErrorClass.NETWORK, BROKEN)
            await asyncio.sleep(self.script.scenario.pace)
            yield StreamPiece(token)
        yield StreamPiece(end=replace(answer, text=""))

    async def embed(
        self, deployment: Deployment, texts: Sequence[str], *, base64: bool, timeout: float
    ) -> WireVectors:
        """Answer an embeddings call as the script says. Raises :class:`Fault`."""
        body = {
            "model": deployment.embedding_model or deployment.model,
            "input": list(texts),
            "encoding_format": "base64" if base64 else "float",
        }
        await self._play(deployment, body, None)
        return read_vectors(self.script.embeddings(body), len(texts))

    async def models(self, deployment: Deployment) -> list[ModelInfo]:
        """The models the scenario names."""
        return read_models(self.script.models())

    async def takes_tools(self, deployment: Deployment, wire: WireChat) -> bool:
        """Whether the scenario's server takes tools."""
        return self.script.scenario.tools

    async def find(self, deployment: Deployment, name: str) -> WireAnswer | None:
        """The answer kept under a name."""
        return read_kept({"data": self.script.find({KEPT_AS: name}, 1)}, name, datetime.now(UTC))

    async def aclose(self) -> None:
        """Nothing is held."""

    async def _play(
        self, deployment: Deployment, body: Mapping[str, Any], first_byte: float | None
    ) -> Step:
        step = self.script.next_step(body)
        if step.act is Act.REFUSED:
            raise Fault(ErrorClass.NETWORK, "the connection was refused", sent=False)
        await asyncio.sleep(step.seconds)
        if step.act is Act.DROPPED:
            raise Fault(ErrorClass.NETWORK, "the connection was dropped")
        if step.act in (Act.HANG, Act.HANG_MIDWAY):
            await asyncio.sleep(first_byte or deployment.timeouts.first_byte)
            raise Fault(ErrorClass.TIMEOUT, "no answer in time")
        if step.act is Act.NOT_JSON:
            raise Fault(ErrorClass.SERVER, NOT_COMPATIBLE)
        refusal = self.script.refusal(step, body)
        if refusal is not None:
            status, headers, said = refusal
            lower = {name.lower(): value for name, value in headers.items()}
            raise classify_response(status, lower, said, datetime.now(UTC))
        return step
