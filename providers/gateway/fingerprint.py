"""What makes two calls the same call."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from providers.gateway.types import ChatCall, Deployment


def canonical(value: Mapping[str, Any] | Sequence[Any]) -> bytes:
    """One spelling of a JSON document: sorted keys, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def content_hash(call: ChatCall, variant: int = 0) -> str:
    """SHA-256 of everything the answer depends on but the model and the workspace.

    ``variant`` tells apart answers to one question that was put again from scratch.
    """
    return hashlib.sha256(
        canonical(
            [
                call.purpose,
                call.prompt_version,
                call.max_tokens,
                call.temperature,
                call.schema,
                variant,
                [[message.role, message.content] for message in call.messages],
            ]
        )
    ).hexdigest()


def texts_hash(texts: Sequence[str]) -> str:
    """SHA-256 of the texts of one embedding call."""
    return hashlib.sha256(canonical(["embed", list(texts)])).hexdigest()


def fingerprint(
    workspace: int, target: Deployment, model: str, content: str, project: int | None = None
) -> str:
    """The journal's key. Workspace and project are part of it: no answer crosses them."""
    parts = f"{workspace}\n{target.provider}\n{model}\n{content}"
    if project is not None:
        parts += f"\n{project}"
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()


def byte_count(text: str) -> int:
    """Bytes of a text in UTF-8: no fewer than its tokens, since no tokeniser makes two of one."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
