"""Bringing a row that means a conversation into our own schema, whatever wrote it.

Lenient where the meaning is certain (a missing id, a role that is a number, typed content), and
strict where it is not: a row without messages stays a problem.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from core.text import clean

UNKNOWN = "unknown"
MAX_ROLE = 200
SHORT_ROLE = 40
"""Longest beginning of a line that is taken for the name of a speaker."""

MAX_ARGUMENTS = 2000
KNOWN = frozenset({"messages", "id", "metadata", "labels"})

EPOCH_LOW, EPOCH_HIGH = 10**8, 10**10
"""Numbers between these are seconds since 1970 (years 1973 to 2286)."""


def conversation(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The row in our schema; ``name`` is used where it has no id of its own.

    Keys that are not ours become metadata.
    """
    given = row.get("id")
    extra = {key: value for key, value in row.items() if key not in KNOWN}
    return {
        "id": name if given is None or given == "" else given,
        "messages": _messages(row.get("messages")),
        "metadata": {**extra, **_mapping(row.get("metadata"), "metadata")},
        "labels": _mapping(row.get("labels"), "labels"),
    }


def _mapping(value: Any, name: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    return {} if value is None else {name: value}


def _messages(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return []
    return [message(item) for item in value]


def message(item: Any) -> dict[str, Any]:
    """One message: an object, or a line such as ``customer: hello``."""
    if isinstance(item, str):
        role, colon, text = clean(item).partition(":")
        if colon and len(role) <= SHORT_ROLE:
            return {"role": role_of(role), "content": text.strip()}
        return {"role": UNKNOWN, "content": clean(item)}
    if not isinstance(item, dict):
        return {"role": UNKNOWN, "content": clean(text_of(item))}
    content = text_of(item.get("content"))
    if "tool_calls" in item:
        calls = tool_text(item["tool_calls"])
        content = f"{content}\n{calls}" if content and calls else content or calls
    return {
        "role": role_of(item.get("role")),
        "content": clean(content),
        "ts": time_text(item.get("ts", item.get("timestamp"))),
    }


def role_of(value: Any) -> str:
    """Who speaks: a name, the type inside an object, "unknown" for none."""
    if isinstance(value, dict):
        value = next((value[key] for key in ("type", "role", "name") if value.get(key)), None)
    text = clean(str(value)).strip() if isinstance(value, str | int) else ""
    return text[:MAX_ROLE] or UNKNOWN


def text_of(content: Any) -> str:
    """The text of a message: a string, typed blocks joined, other values as written."""
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, list):
        return "\n".join(text for text in map(_block, content) if text)
    if isinstance(content, dict):
        return _block(content)
    return str(content)


def _block(block: Any) -> str:
    """One typed block. Pictures and sounds leave no text behind."""
    if not isinstance(block, dict):
        return block if isinstance(block, str) else ""
    if block.get("type") == "tool_use":
        return _call(block.get("name"), block.get("input"))
    inside = block.get("text", block.get("content"))
    if isinstance(inside, str):
        return inside
    if isinstance(inside, list):
        return text_of([part for part in inside if not isinstance(part, list)])
    if "type" in block:
        return ""
    return "\n".join(value for value in block.values() if isinstance(value, str))


def tool_text(calls: Any) -> str:
    """Tool calls in words: the name and its arguments."""
    if not isinstance(calls, list):
        return ""
    functions = [call.get("function") for call in calls if isinstance(call, dict)]
    return "\n".join(
        _call(function.get("name"), function.get("arguments"))
        for function in functions
        if isinstance(function, dict)
    )


def _call(name: Any, arguments: Any) -> str:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return f"[{name or 'tool'}({text[:MAX_ARGUMENTS]})]"


def time_text(value: Any) -> str | None:
    """A time as text; seconds or milliseconds since 1970 become ISO 8601."""
    if value is None or isinstance(value, bool):
        return None
    number = _epoch(value)
    if number is None:
        return clean(str(value)[:60]) if isinstance(value, str | int | float) else None
    return datetime.fromtimestamp(number, UTC).isoformat()


def _epoch(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if not math.isfinite(number):
        return None
    if EPOCH_LOW * 1000 <= number < EPOCH_HIGH * 1000:
        number /= 1000
    return number if EPOCH_LOW <= number < EPOCH_HIGH else None
