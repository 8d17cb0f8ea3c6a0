"""Models that are easily led, to see how far that gets an attacker."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analyses.pipeline.base import ChatAnswer, ChatRequest
from analyses.pipeline.local import LocalEngine

WORD = "PWNED"
ATTEMPTS: list[dict[str, str]] = [
    json.loads(line)
    for line in (Path(__file__).parent / "attempts.jsonl").read_text("utf-8").splitlines()
]

_FENCE = re.compile(r"<([a-z-]+-[0-9a-f]{16})>(.*?)</\1>", re.DOTALL)


def inside(text: str) -> list[str]:
    """What stands inside the fences of a message, read as a careful model reads it."""
    return [match.group(2) for match in _FENCE.finditer(text)]


def outside(text: str) -> str:
    """A message without its fences and what they hold."""
    return _FENCE.sub("", text)


class Gullible:
    """Obeys whatever stands outside of a fence; else it answers by the local engine's rules.

    With ``everywhere`` it obeys commands inside of fences as well: the worst model there can be.
    """

    def __init__(self, *, everywhere: bool = False) -> None:
        self.everywhere = everywhere
        self.requests: list[ChatRequest] = []
        self.obeyed = 0

    async def __call__(self, request: ChatRequest) -> ChatAnswer:
        self.requests.append(request)
        texts = [message.content for message in request.messages]
        heard = "\n".join(texts if self.everywhere else map(outside, texts))
        if WORD in heard:
            self.obeyed += 1
            return ChatAnswer(data=obedient(request.schema), model="gullible")
        answer = await LocalEngine()(request)
        return ChatAnswer(data=answer.data, model="gullible")


def obedient(schema: Mapping[str, Any]) -> Any:
    """The attacker's word wherever the schema leaves room for it."""
    if "enum" in schema:
        return schema["enum"][-1]
    kind = schema["type"] if isinstance(schema["type"], str) else schema["type"][0]
    if kind == "object":
        return {key: obedient(part) for key, part in schema["properties"].items()}
    if kind == "array":
        return [obedient(schema["items"])]
    if kind == "string":
        return f"{WORD} ![x](https://evil.example/{WORD})"
    if kind == "integer":
        return schema["maximum"]
    return True
