"""Stand-ins for the ports of a pipeline context: scripted, deterministic, without a network."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from analyses.pipeline.base import CallFailed, ChatAnswer, ChatRequest, Context, Matrix
from analyses.pipeline.records import Source, Turn

Answer = Mapping[str, Any]
Script = Callable[[ChatRequest], Answer]


def sample(schema: Mapping[str, Any], seed: str = "") -> Any:
    """The smallest sensible instance of a JSON Schema, varied by ``seed`` where it may vary."""
    if "enum" in schema:
        choices = schema["enum"]
        return choices[_number(seed) % len(choices)]
    kind = schema["type"] if isinstance(schema["type"], str) else schema["type"][0]
    if kind == "object":
        return {key: sample(part, f"{seed}/{key}") for key, part in schema["properties"].items()}
    if kind == "array":
        count = max(1, schema.get("minItems", 0))
        return [sample(schema["items"], f"{seed}/{index}") for index in range(count)]
    if kind == "string":
        return f"Sort out matter {_number(seed) % 97}"[: schema.get("maxLength", 200)]
    if kind in ("integer", "number"):
        return schema.get("maximum", schema.get("minimum", 3))
    return True if kind == "boolean" else None


def _number(seed: str) -> int:
    return int.from_bytes(hashlib.blake2b(seed.encode("utf-8", "replace"), digest_size=4).digest())


class ScriptedChat:
    """A chat port that answers by script, or with a sample of the schema asked for.

    ``script`` maps a purpose to a function of the request. ``fail`` decides which requests end in
    ``error``. Every request is kept in ``requests``; ``most_at_once`` is the highest number in
    flight.
    """

    def __init__(
        self,
        script: Mapping[str, Script] | None = None,
        *,
        fail: Callable[[ChatRequest], bool] = lambda request: False,
        error: CallFailed | None = None,
        delay: float = 0.0,
    ) -> None:
        self.script = dict(script or {})
        self.fail = fail
        self.error = error or CallFailed("timeout", "No answer in time.")
        self.delay = delay
        self.requests: list[ChatRequest] = []
        self.in_flight = 0
        self.most_at_once = 0

    async def __call__(self, request: ChatRequest) -> ChatAnswer:
        self.requests.append(request)
        self.in_flight += 1
        self.most_at_once = max(self.most_at_once, self.in_flight)
        try:
            await asyncio.sleep(self.delay)
        finally:
            self.in_flight -= 1
        if self.fail(request):
            raise self.error
        script = self.script.get(request.purpose)
        last = request.messages[-1].content
        data = script(request) if script else sample(request.schema, last)
        return ChatAnswer(data=data, model="scripted", tokens_in=len(last) // 4, tokens_out=20)


async def hashed_vectors(texts: Sequence[str]) -> Matrix:
    """An embed port: one random unit vector of 16 numbers per text, the same for the same text."""
    rows = [np.random.default_rng(_number(text)).normal(size=16) for text in texts]
    matrix = np.array(rows, dtype=np.float32).reshape(len(texts), 16)
    return matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-9)


def make_context(chat: ScriptedChat | None = None, **changes: Any) -> Context:
    """A context over scripted ports; ``changes`` are fields of :class:`Context`."""
    return Context(chat=chat or ScriptedChat(), embed=hashed_vectors, **changes)


def source(*texts: str, position: int = 0, roles: Sequence[str] = ("customer", "agent")) -> Source:
    """A conversation whose turns alternate between ``roles``."""
    turns = tuple(Turn(roles[i % len(roles)], text) for i, text in enumerate(texts))
    return Source(position=position, turns=turns)


async def collect(stage: Any, inputs: Any, context: Context) -> list[Any]:
    """Everything a stage yields."""
    return [record async for record in stage.run(inputs, context)]


def plain(value: Any) -> Any:
    """A record as nested tuples, comparable with ``==`` whatever arrays it holds."""
    if is_dataclass(value) and not isinstance(value, type):
        return tuple((part.name, plain(getattr(value, part.name))) for part in fields(value))
    if isinstance(value, np.ndarray):
        return (value.shape, tuple(value.ravel().tolist()))
    if isinstance(value, Mapping):
        return tuple(sorted((str(key), plain(item)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return tuple(plain(item) for item in value)
    return value


def positions(records: Iterable[Any]) -> list[int]:
    """Positions of the records, sorted."""
    return sorted(record.position for record in records)
