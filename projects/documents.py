"""The shape of a conversation at the door: what is stored in ``Conversation.messages``."""

from __future__ import annotations

import hashlib
import json
import math
from datetime import UTC, datetime
from typing import Any

from django.utils.dateparse import parse_datetime
from pydantic import BaseModel, ConfigDict, Field, field_validator

from core.text import clean

MAX_MESSAGES = 20_000
MAX_METADATA_CHARS = 20_000
MAX_DEPTH = 20
"""Levels of metadata kept; databases and JSON writers give up far deeper (SQLite: 1000)."""

YEARS = range(1970, 2201)
"""Times outside are placeholders or typing errors, and break calendars and time zones."""

INVISIBLE = "".join(char for char in map(chr, range(0x10000)) if char.isspace()) + (
    "\u00ad\u180e\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u3164"
)
"""White space, and characters that show nothing (Unicode, Default_Ignorable_Code_Point)."""

TIME_KEYS = ("created_at", "started_at", "timestamp", "ts")
"""Where a file says when a whole conversation was, if its messages do not."""
USER_KEYS = ("user", "user_id", "end_user", "end_user_id", "customer_id")


def bounded(value: Any, depth: int = MAX_DEPTH) -> Any:
    """A JSON value that every database can hold: clean texts, finite numbers, not too deep."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth == 0 and isinstance(value, dict | list):
        return "…"
    if isinstance(value, dict):
        return {clean(str(key)): bounded(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [bounded(item, depth - 1) for item in value]
    return value if value is None or isinstance(value, int) else clean(str(value))


def _sound(data: dict[str, Any]) -> bool:
    """Whether metadata certainly holds nothing a database refuses; most is."""
    try:
        text = json.dumps(data)
    except RecursionError:
        return False
    if len(text) > MAX_METADATA_CHARS or text.count("{") + text.count("[") > MAX_DEPTH * 5:
        return False
    return not any(mark in text for mark in ("\\u0000", "\\ud", "Infinity", "NaN"))


def _reasonable(data: dict[str, Any]) -> dict[str, Any]:
    return data if len(json.dumps(data)) <= MAX_METADATA_CHARS else {}


class Message(BaseModel):
    """One message, its texts :func:`clean`. ``ts`` stays as written, whatever it says."""

    model_config = ConfigDict(extra="ignore")

    role: str = Field(max_length=200)
    content: str
    ts: str | None = Field(default=None, max_length=60)


class Document(BaseModel):
    """One conversation as a reader hands it over."""

    model_config = ConfigDict(extra="ignore")

    id: str = Field(default="", max_length=200)
    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES)
    metadata: dict[str, Any] = Field(default_factory=dict)
    labels: dict[str, Any] = Field(default_factory=dict)

    @field_validator("id", mode="before")
    @classmethod
    def _id(cls, value: Any) -> Any:
        return clean(str(value)) if isinstance(value, (str, int)) else value

    @property
    def empty(self) -> bool:
        """Whether no message says anything."""
        return not any(message.content.strip(INVISIBLE) for message in self.messages)

    @property
    def end_user(self) -> str:
        """The end user named by the metadata, "" when none is."""
        for key in USER_KEYS:
            value = self.metadata.get(key)
            if isinstance(value, (str, int)) and str(value).strip():
                return clean(str(value))[:200]
        return ""

    @property
    def language(self) -> str:
        """The language the source names, "" when it names none."""
        value = self.metadata.get("language")
        return clean(value)[:12] if isinstance(value, str) else ""

    @property
    def times(self) -> tuple[datetime | None, datetime | None]:
        """First and last readable time of the messages, else that of the whole conversation.

        Times without a zone count as UTC.
        """
        found = [time for time in (parse_time(m.ts) for m in self.messages) if time]
        if not found:
            given = (self.metadata.get(key) for key in TIME_KEYS)
            texts = (value for value in given if isinstance(value, str))
            found = [time for time in map(parse_time, texts) if time][:1]
        return (min(found), max(found)) if found else (None, None)

    def stored_messages(self) -> list[dict[str, str]]:
        """What goes into the JSON column."""
        return [
            {"role": said.role, "content": said.content}
            if said.ts is None
            else {"role": said.role, "content": said.content, "ts": said.ts}
            for said in self.messages
        ]

    def stored_metadata(self) -> dict[str, Any]:
        """Metadata and labels, dropped when unreasonably large."""
        data = {**self.metadata, "labels": self.labels} if self.labels else self.metadata
        if not data:
            return {}
        try:
            return data if _sound(data) else _reasonable(bounded(data))
        except (ValueError, RecursionError):  # a number of thousands of digits has no text
            return {}

    def content_hash(self) -> str:
        """SHA-256 over roles and texts with folded white space: equal for the same exchange."""
        digest = hashlib.sha256()
        for message in self.messages:
            folded = " ".join(message.content.split())
            digest.update(f"{message.role}\x1f{folded}\x1e".encode())
        return digest.hexdigest()

    def rough_tokens(self) -> int:
        """About four characters make a token in English; exact counts come before a model call."""
        return sum(len(message.content) for message in self.messages) // 4 + 1


def parse_time(value: str | None) -> datetime | None:
    """An ISO 8601 date and time, ``None`` for anything else."""
    if not value:
        return None
    try:
        found = parse_datetime(value)
    except ValueError:
        return None
    if found is None or found.year not in YEARS:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
