"""OpenAI-style JSON lines: ``{"messages": [...]}`` with string or typed content and tool calls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from projects.readers.base import Parsed, Problem, Sniff
from projects.readers.jsonl import first_rows, read_documents


def content_text(content: Any) -> str:
    """The text of a message: a string, typed blocks joined, "" for none."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    blocks = (block.get("text") for block in content if isinstance(block, dict))
    return "\n".join(text for text in blocks if isinstance(text, str))


def tool_text(calls: Any) -> str:
    """Tool calls in words: the name and its arguments."""
    if not isinstance(calls, list):
        return ""
    lines = []
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            arguments = function.get("arguments")
            text = arguments if isinstance(arguments, str) else json.dumps(arguments)
            lines.append(f"[{function.get('name', 'tool')}({text[:2000]})]")
    return "\n".join(lines)


def shape(row: dict[str, Any]) -> dict[str, Any]:
    """The row in our own schema; unknown keys become metadata."""
    messages = []
    for message in row.get("messages") or []:
        if not isinstance(message, dict):
            continue
        text = content_text(message.get("content"))
        tools = tool_text(message.get("tool_calls"))
        content = "\n".join(part for part in (text, tools) if part)
        ts = message.get("ts") or message.get("timestamp")
        messages.append(
            {
                "role": message.get("role"),
                "content": content,
                "ts": ts if isinstance(ts, str) else None,
            }
        )
    known = {"messages", "id", "metadata", "labels"}
    extra = {key: value for key, value in row.items() if key not in known}
    given = row.get("metadata")
    metadata = {**extra, **(given if isinstance(given, dict) else {})}
    return {"id": row.get("id") or "", "messages": messages, "metadata": metadata}


class OpenAIMessages:
    """Chat messages as sent to or logged from an OpenAI-compatible endpoint."""

    key = "openai-messages"
    label = "OpenAI messages JSONL"

    def sniff(self, head: str) -> Sniff:
        """Objects with ``messages``, with or without an id."""
        rows = first_rows(head)
        if rows and all(isinstance(row.get("messages"), list) for row in rows):
            return Sniff(0.7, "each line has a list of messages")
        return Sniff(0.0, "its lines have no list of messages.")

    def read(self, path: Path) -> Iterator[Parsed | Problem]:
        """One conversation a line."""
        return read_documents(path, shape)
