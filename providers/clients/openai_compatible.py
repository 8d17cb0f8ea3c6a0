"""Any server that speaks OpenAI's ``/chat/completions`` and ``/embeddings``.

The SDK carries the request; its answer is read as plain JSON, because building its typed models
costs as much CPU again as all the rest of a call and refuses servers that leave fields out.
"""

from __future__ import annotations

import base64 as b64
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import numpy as np

from providers.clients.listing import fetch_models
from providers.clients.reading import count, read_chat, read_error
from providers.clients.streaming import ChunkReader
from providers.clients.wire import NOT_COMPATIBLE, Limits, Wire, utc_now
from providers.gateway.catalogue import ModelInfo
from providers.gateway.errors import ErrorClass, Fault
from providers.gateway.quota import read_quota
from providers.gateway.types import (
    Deployment,
    Matrix,
    StreamPiece,
    WireAnswer,
    WireChat,
    WireVectors,
)

__all__ = [
    "KEPT_AS",
    "OpenAICompatibleClient",
    "chat_body",
    "encodable",
    "read_chat",
    "read_kept",
    "read_vectors",
    "utc_now",
]

CHAT = "/chat/completions"

KEPT_AS = "openclio"
"""The metadata key under which a stored completion carries our name for it."""

NOT_KEPT = frozenset({400, 404, 405, 501})
"""What servers without stored completions answer when they are asked for one."""


TRIAL_TOOL = {
    "type": "function",
    "function": {
        "name": "confirm",
        "description": "Confirms that tools can be called.",
        "parameters": {
            "type": "object",
            "properties": {"ok": {"type": "boolean"}},
            "required": ["ok"],
        },
    },
}
"""What a trial asks a model to call."""


class OpenAICompatibleClient:
    """Implements :class:`providers.gateway.types.Client`."""

    def __init__(self, *, now: Callable[[], datetime] = utc_now) -> None:
        self.wire = Wire(now=now)

    async def chat(self, deployment: Deployment, wire: WireChat) -> WireAnswer:
        """Send one chat completion. Raises :class:`Fault`."""
        now = self.wire.now()
        reply = await self.wire.post(
            deployment, CHAT, chat_body(deployment.model, wire), Limits.of(deployment, wire)
        )
        return read_chat(reply.object, now, reply.headers)

    async def stream(self, deployment: Deployment, wire: WireChat) -> AsyncIterator[StreamPiece]:
        """Send one chat completion and give its text as it comes. Raises :class:`Fault`."""
        body = {**chat_body(deployment.model, wire), "stream": True}
        usage = {"stream_options": {"include_usage": True}}
        try:
            async for piece in self._pieces(deployment, {**body, **usage}, wire):
                yield piece
            return
        except Fault as fault:
            if fault.rejected != "stream_options":
                raise
        async for piece in self._pieces(deployment, body, wire):
            yield piece

    async def _pieces(
        self, deployment: Deployment, body: Mapping[str, Any], wire: WireChat
    ) -> AsyncIterator[StreamPiece]:
        reader = ChunkReader(self.wire.now())
        lines = self.wire.lines(deployment, CHAT, body, Limits.of(deployment, wire))
        async with aclosing(lines):
            async for line, headers in lines:
                for piece in reader.read(line, headers):
                    yield piece
        for piece in reader.end():
            yield piece

    async def embed(
        self, deployment: Deployment, texts: Sequence[str], *, base64: bool, timeout: float
    ) -> WireVectors:
        """Send one batch of texts; ``timeout`` is for the whole. Raises :class:`Fault`."""
        request = {
            "model": deployment.embedding_model or deployment.model,
            "input": [encodable(text) for text in texts],
            "encoding_format": "base64" if base64 else "float",
        }
        own = Limits.of(deployment)
        limits = replace(own, first_byte=min(own.first_byte, timeout), total=timeout)
        reply = await self.wire.post(deployment, "/embeddings", request, limits)
        found = read_vectors(reply.object, len(texts))
        return replace(found, quota=read_quota(reply.headers, self.wire.now()))

    async def models(self, deployment: Deployment) -> list[ModelInfo]:
        """The models the server offers, by name. Raises :class:`Fault`."""
        return await fetch_models(self.wire, deployment, "/models")

    async def takes_tools(self, deployment: Deployment, wire: WireChat) -> bool:
        """Whether the model calls a tool when asked to. Raises :class:`Fault`."""
        body = {**chat_body(deployment.model, wire), "tools": [TRIAL_TOOL], "tool_choice": "auto"}
        reply = await self.wire.post(deployment, CHAT, body, Limits.of(deployment, wire))
        fault = read_error(reply.object, self.wire.now())
        if fault is not None:
            raise fault
        try:
            return bool(reply.object["choices"][0]["message"].get("tool_calls"))
        except (KeyError, IndexError, TypeError, AttributeError):
            return False

    async def find(self, deployment: Deployment, name: str) -> WireAnswer | None:
        """The stored completion with our name in its metadata, ``None`` when there is none.

        OpenAI's API reference, "List Chat Completions". Servers without it answer 4xx, which is
        the same as having nothing. Raises :class:`Fault` when the server could not be asked.
        """
        path = f"{CHAT}?{urlencode({f'metadata[{KEPT_AS}]': name, 'limit': 1})}"
        try:
            listed = await self.wire.get(deployment, path, Limits.of(deployment))
        except Fault as fault:
            if fault.status is not None and fault.status in NOT_KEPT:
                return None
            raise
        return read_kept(listed.object, name, self.wire.now())

    async def aclose(self) -> None:
        """Close every connection."""
        await self.wire.aclose()


def chat_body(model: str, wire: WireChat) -> dict[str, Any]:
    """The request as OpenAI's API reference describes "Create chat completion"."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": message.role, "content": encodable(message.content)}
            for message in wire.messages
        ],
        wire.token_field: wire.max_tokens,
    }
    if wire.temperature is not None:
        body["temperature"] = wire.temperature
    if wire.keep_as:
        body["store"] = True
        body["metadata"] = {KEPT_AS: wire.keep_as}
    if wire.schema is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {
                "name": wire.purpose or "answer",
                "schema": wire.schema,
                "strict": False,
            },
        }
    return body


def encodable(text: str) -> str:
    """The text with halves of surrogate pairs, which no encoding can carry, as question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def read_kept(body: Mapping[str, Any], name: str, now: datetime) -> WireAnswer | None:
    """The first stored completion of a list; one that carries another name is not ours."""
    data = body.get("data")
    first = data[0] if isinstance(data, list) and data else None
    if not isinstance(first, Mapping):
        return None
    metadata = first.get("metadata")
    if not isinstance(metadata, Mapping) or metadata.get(KEPT_AS) != name:
        return None
    return read_chat(first, now)


def read_vectors(body: Mapping[str, Any], texts: int) -> WireVectors:
    """Vectors by their index, numbers or base64 of little-endian floats."""
    try:
        items = sorted(body["data"], key=lambda item: item.get("index", 0))
        if len(items) != texts:
            raise Fault(ErrorClass.BAD_ANSWER, "the vectors do not match the texts")
        vectors: Matrix = np.vstack([_vector(item["embedding"]) for item in items])
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        raise Fault(ErrorClass.SERVER, NOT_COMPATIBLE) from None
    usage = body.get("usage")
    tokens = count(usage.get("prompt_tokens")) if isinstance(usage, Mapping) else 0
    return WireVectors(vectors, tokens)


def _vector(value: Any) -> Matrix:
    if isinstance(value, str):
        return np.frombuffer(b64.b64decode(value, validate=True), dtype="<f4").astype(np.float32)
    return np.asarray(value, dtype=np.float32).reshape(-1)
