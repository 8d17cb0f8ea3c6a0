"""Requests and answers of Anthropic's Messages API, to and from the scripted provider's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def as_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """A request in Anthropic's shape as one in OpenAI's; one of OpenAI's as it is."""
    tools = body.get("tools") or [{}]
    schema = tools[0].get("input_schema")
    messages = [
        {"role": message["role"], "content": _plain(message["content"])}
        for message in body["messages"]
    ]
    system = _plain(body.get("system") or "")
    if system:
        messages.insert(0, {"role": "system", "content": system})
    shaped = {"response_format": {"json_schema": {"schema": schema}}} if schema else {}
    rest = {key: value for key, value in body.items() if key not in ("tools", "tool_choice")}
    return {**rest, "messages": messages, **shaped}


def as_message(body: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
    """A chat completion in the shape of Anthropic's messages: the tool's input if one was asked."""
    choice, usage = answer["choices"][0], answer.get("usage") or {}
    text = choice["message"]["content"]
    block: dict[str, Any] = {"type": "text", "text": text}
    given = _object(text) if body.get("tools") else None
    if given is not None:
        name = body["tools"][0].get("name", "")
        block = {"type": "tool_use", "id": "tool-1", "name": name, "input": given}
    return {
        "id": answer.get("id", ""),
        "type": "message",
        "role": "assistant",
        "model": answer.get("model", ""),
        "content": [block],
        "stop_reason": "max_tokens" if choice["finish_reason"] == "length" else "end_turn",
        "usage": {
            "input_tokens": usage.get("prompt_tokens", 0),
            "output_tokens": usage.get("completion_tokens", 0),
        },
    }


def _plain(content: Any) -> str:
    """A message's text, whether a string or a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def _object(text: str) -> dict[str, Any] | None:
    """The object in a text; what is none, a model could not have given to a tool."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
