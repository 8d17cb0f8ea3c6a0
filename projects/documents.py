"""The shape of a conversation at the door: what is stored in ``Conversation.messages``."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from django.utils.dateparse import parse_datetime
from pydantic import BaseModel, ConfigDict, Field, field_validator

MAX_MESSAGES = 20_000
MAX_METADATA_CHARS = 20_000
USER_KEYS = ("user", "user_id", "end_user", "end_user_id", "customer_id")


def clean(text: str) -> str:
    """Text a database can hold: no NUL, lone surrogates replaced."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


class Message(BaseModel):
    """One message. ``ts`` stays as written; only date and time values are understood."""

    model_config = ConfigDict(extra="ignore")

    role: str = Field(max_length=200)
    content: str
    ts: str | None = Field(default=None, max_length=60)

    @field_validator("role", "content", mode="before")
    @classmethod
    def _clean(cls, value: Any) -> Any:
        return clean(value) if isinstance(value, str) else value


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
        return not any(message.content.strip() for message in self.messages)

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
        """First and last readable time of the messages; times without a zone count as UTC."""
        found = [time for time in (parse_time(m.ts) for m in self.messages) if time]
        return (min(found), max(found)) if found else (None, None)

    def stored_messages(self) -> list[dict[str, str]]:
        """What goes into the JSON column."""
        return [message.model_dump(exclude_none=True) for message in self.messages]

    def stored_metadata(self) -> dict[str, Any]:
        """Metadata and labels, dropped when unreasonably large."""
        data = {**self.metadata, "labels": self.labels} if self.labels else dict(self.metadata)
        text = clean(json.dumps(data, ensure_ascii=True, default=str)).replace("\\u0000", "")
        return json.loads(text) if len(text) <= MAX_METADATA_CHARS else {}

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
    if found is None:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
