"""OpenAI-style JSON: ``{"messages": [...]}`` with string or typed content and tool calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from projects.readers.base import Parsed, Problem, Sniff
from projects.readers.json_rows import first_rows
from projects.readers.jsonl import documents, speaks


class OpenAIMessages:
    """Chat messages as sent to or logged from an OpenAI-compatible endpoint."""

    key = "openai-messages"
    label = "OpenAI messages JSONL"

    def sniff(self, head: str) -> Sniff:
        """Objects with ``messages``, with or without an id."""
        found = first_rows(head)
        if any(speaks(row) for row in found):
            return Sniff(0.7, "its rows have a list of messages")
        return Sniff(0.0, "its lines have no list of messages.")

    def read(self, path: Path) -> Iterator[Parsed | Problem]:
        """One conversation a row."""
        return documents(path)
