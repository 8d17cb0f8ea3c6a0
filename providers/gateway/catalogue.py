"""What a server's list of models says, in each of the shapes servers write it in.

OpenAI, Azure, Google, vLLM (``max_model_len``), Groq (``context_window``), Mistral
(``capabilities``, ``max_context_length``), OpenRouter (``context_length``,
``supported_parameters``, ``pricing``), Together (a bare list with ``type``), llama.cpp (``meta``),
LM Studio (``/api/v0/models``), Ollama (``/api/tags``) and Anthropic: each from its API reference.
Everything is hostile: what has the wrong type is taken as not told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_MODELS = 2_000
"""Models read from one list; OpenRouter, the longest known, has a few hundred."""

LONGEST_NAME = 120
"""Characters of a model's name; longer ones are left out, because no table holds them."""

MOST_TOKENS = 100_000_000
"""No context is longer, so a larger number is not one."""

_CONTEXT = (
    "context_length",
    "context_window",
    "max_context_length",
    "max_model_len",
    "max_input_tokens",
    "inputTokenLimit",
)
_NO_TEXT = frozenset(
    {
        "image",
        "audio",
        "video",
        "moderation",
        "rerank",
        "transcribe",
        "transcription",
        "speech",
        "tts",
        "stt",
    }
)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model a provider offers; ``None`` for what its list does not tell.

    Prices are US dollars per million tokens.
    """

    id: str
    context_tokens: int | None = None
    embeds: bool | None = None
    schema: bool | None = None
    tools: bool | None = None
    price_in: float | None = None
    price_out: float | None = None


def read_models(body: Any) -> list[ModelInfo]:
    """The models of a list, each once, by name; those that make no text or vectors are left out.

    Raises ``ValueError`` when the answer is no list of models at all.
    """
    listed = body
    if isinstance(body, Mapping):
        listed = next((body[key] for key in ("data", "models") if key in body), None)
    if not isinstance(listed, list):
        raise ValueError("not a list of models")
    found: dict[str, ModelInfo] = {}
    for row in listed[:MOST_MODELS]:
        info = _read(row) if isinstance(row, Mapping) else None
        if info is not None:
            found.setdefault(info.id, info)
    return sorted(found.values(), key=lambda one: one.id.lower())


def _read(row: Mapping[str, Any]) -> ModelInfo | None:
    name = row.get("id") or row.get("model") or row.get("name")
    if not isinstance(name, str):
        return None
    # Google's list names models as resources; they are called by the last part alone.
    name = name.removeprefix("models/")
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or _no_text(row):
        return None
    pricing = row.get("pricing")
    price_in, price_out = _prices(pricing) if isinstance(pricing, Mapping) else (None, None)
    return ModelInfo(
        id=name,
        context_tokens=_context(row),
        embeds=_embeds(name, row),
        schema=_supports(row, ("structured_outputs",), "structured_outputs"),
        tools=_supports(row, ("tools", "tool_use"), "function_calling"),
        price_in=price_in,
        price_out=price_out,
    )


def _no_text(row: Mapping[str, Any]) -> bool:
    """Whether the list says in so many words that the model makes pictures or sound."""
    kind = row.get("type")
    return isinstance(kind, str) and kind.lower() in _NO_TEXT


def _context(row: Mapping[str, Any]) -> int | None:
    meta = row.get("meta")
    told = [row.get(key) for key in _CONTEXT]
    if isinstance(meta, Mapping):
        told += [meta.get("n_ctx"), meta.get("n_ctx_train")]
    return next((value for value in map(tokens, told) if value), None)


def tokens(value: Any) -> int | None:
    """A number of tokens; ``None`` for anything that cannot be one."""
    fits = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST_TOKENS
    return value if fits else None


def _embeds(name: str, row: Mapping[str, Any]) -> bool | None:
    """Whether it answers embeddings instead of chat: as told, else by its name, else unknown."""
    kind, capabilities = row.get("type"), row.get("capabilities")
    if isinstance(kind, str) and kind.lower() in ("embedding", "embeddings"):
        return True
    if isinstance(kind, str) and kind.lower() in ("chat", "language", "llm", "vlm"):
        return False
    if isinstance(capabilities, Mapping):
        for key, embeds in (("embeddings", True), ("completion_chat", False)):
            if capabilities.get(key) is True:
                return embeds
    if isinstance(capabilities, Sequence) and "embedding" in capabilities:
        return True
    return True if "embed" in name.lower() else None


def _supports(row: Mapping[str, Any], words: tuple[str, ...], flag: str) -> bool | None:
    """A capability by OpenRouter's list of parameters, a list of words, or a table of flags."""
    parameters, capabilities = row.get("supported_parameters"), row.get("capabilities")
    for listed in (parameters, capabilities):
        if isinstance(listed, list):
            return any(word in listed for word in words)
    if isinstance(capabilities, Mapping):
        told = capabilities.get(flag)
        if isinstance(told, Mapping):
            told = told.get("supported")
        return told if isinstance(told, bool) else None
    return None


def _prices(pricing: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """OpenRouter's dollars per token, or Together's per million tokens."""
    if "prompt" in pricing:
        return _price(pricing.get("prompt"), 1e6), _price(pricing.get("completion"), 1e6)
    return _price(pricing.get("input"), 1), _price(pricing.get("output"), 1)


def _price(value: Any, scale: float) -> float | None:
    try:
        price = float(value) * scale
    except (TypeError, ValueError):
        return None
    return round(price, 6) if 0 <= price < 1e6 else None
