"""Lists of models in the shapes servers send them."""

from __future__ import annotations

from typing import Any

import pytest

from providers.gateway.catalogue import MOST_MODELS, ModelInfo, read_models


def listed(*rows: Any) -> dict[str, Any]:
    return {"object": "list", "data": list(rows)}


M = ModelInfo

SHAPES: list[tuple[str, Any, list[ModelInfo]]] = [
    (
        "openai",
        listed(
            {"id": "gpt-4o-mini", "object": "model", "created": 1721172741, "owned_by": "system"},
            {"id": "text-embedding-3-small", "object": "model", "owned_by": "system"},
        ),
        [M("gpt-4o-mini"), M("text-embedding-3-small", embeds=True)],
    ),
    (
        "azure",
        listed(
            {
                "id": "gpt-4o-2024-08-06",
                "status": "succeeded",
                "capabilities": {"chat_completion": True, "embeddings": False},
            },
            {"id": "ada-002", "capabilities": {"chat_completion": False, "embeddings": True}},
        ),
        [M("ada-002", embeds=True), M("gpt-4o-2024-08-06")],
    ),
    (
        "google",
        listed({"id": "models/gemini-2.5-flash", "object": "model", "owned_by": "google"}),
        [M("gemini-2.5-flash")],
    ),
    (
        "mistral",
        listed(
            {
                "id": "mistral-small-latest",
                "object": "model",
                "capabilities": {"completion_chat": True, "function_calling": True},
                "max_context_length": 131072,
                "type": "base",
            },
            {
                "id": "mistral-embed",
                "capabilities": {"completion_chat": False, "function_calling": False},
                "max_context_length": 8192,
            },
        ),
        [
            M("mistral-embed", 8192, embeds=True, tools=False),
            M("mistral-small-latest", 131072, embeds=False, tools=True),
        ],
    ),
    (
        "openrouter",
        {
            "data": [
                {
                    "id": "openai/gpt-4o-mini",
                    "name": "OpenAI: GPT-4o-mini",
                    "context_length": 128000,
                    "architecture": {"modality": "text+image->text"},
                    "pricing": {"prompt": "0.00000015", "completion": "0.0000006"},
                    "supported_parameters": ["tools", "response_format", "structured_outputs"],
                },
                {
                    "id": "some/free",
                    "context_length": 4096,
                    "pricing": {"prompt": "-1", "completion": "-1"},
                    "supported_parameters": ["max_tokens"],
                },
            ]
        },
        [
            M("openai/gpt-4o-mini", 128000, None, True, True, 0.15, 0.6),
            M("some/free", 4096, None, False, False),
        ],
    ),
    (
        "groq",
        listed({"id": "llama-3.3-70b-versatile", "active": True, "context_window": 131072}),
        [M("llama-3.3-70b-versatile", 131072)],
    ),
    (
        "together",
        [
            {
                "id": "meta-llama/Llama-3.3-70B",
                "type": "chat",
                "context_length": 131072,
                "pricing": {"input": 0.88, "output": 0.88, "hourly": 0},
            },
            {"id": "BAAI/bge-large", "type": "embedding", "context_length": 512},
            {"id": "black-forest/FLUX", "type": "image"},
        ],
        [
            M("BAAI/bge-large", 512, embeds=True),
            M("meta-llama/Llama-3.3-70B", 131072, False, None, None, 0.88, 0.88),
        ],
    ),
    (
        "vllm",
        listed({"id": "Qwen/Qwen3-8B", "owned_by": "vllm", "max_model_len": 40960}),
        [M("Qwen/Qwen3-8B", 40960)],
    ),
    (
        "llama.cpp",
        {
            "models": [{"name": "qwen.gguf", "type": "model"}],
            **listed(
                {
                    "id": "qwen.gguf",
                    "owned_by": "llamacpp",
                    "meta": {"n_vocab": 152064, "n_ctx_train": 32768, "n_embd": 3584},
                }
            ),
        },
        [M("qwen.gguf", 32768)],
    ),
    (
        "ollama tags",
        {"models": [{"name": "llama3.2:latest", "model": "llama3.2:latest", "size": 2}]},
        [M("llama3.2:latest")],
    ),
    (
        "lm studio",
        listed(
            {"id": "qwen3-8b", "type": "llm", "state": "loaded", "max_context_length": 32768},
            {"id": "nomic", "type": "embeddings", "max_context_length": 2048},
        ),
        [M("nomic", 2048, embeds=True), M("qwen3-8b", 32768, embeds=False)],
    ),
    (
        "anthropic",
        {
            "data": [
                {
                    "type": "model",
                    "id": "claude-sonnet-4-5-20250929",
                    "display_name": "Claude Sonnet 4.5",
                    "max_input_tokens": 200000,
                    "capabilities": {"structured_outputs": {"supported": True}},
                }
            ],
            "has_more": False,
        },
        [M("claude-sonnet-4-5-20250929", 200000, schema=True)],
    ),
    ("empty", listed(), []),
]


@pytest.mark.parametrize(("body", "found"), [row[1:] for row in SHAPES], ids=[r[0] for r in SHAPES])
def test_lists_of_real_servers(body: Any, found: list[ModelInfo]) -> None:
    assert read_models(body) == found


@pytest.mark.parametrize("body", [None, 7, "models", {}, {"data": {}}, {"error": "no"}])
def test_what_is_no_list_is_said(body: Any) -> None:
    with pytest.raises(ValueError, match="not a list"):
        read_models(body)


def test_a_hostile_list_is_bounded_and_its_nonsense_left_out() -> None:
    rows: list[Any] = [
        None,
        [],
        {"id": 7},
        {"id": ""},
        {"id": "x" * 121},
        {"id": "evil\n<script>"},
        {"id": "ok", "context_length": -1, "pricing": {"prompt": "nan"}, "capabilities": 3},
        {"id": "ok", "context_length": 9},
        {"id": "true", "context_length": True, "meta": "x", "pricing": 4, "type": {}},
        {"id": "huge", "context_length": 10**18, "pricing": {"prompt": "1e300"}},
    ]
    assert read_models(listed(*rows)) == [M("huge"), M("ok"), M("true")]
    many = [{"id": f"m{i}"} for i in range(MOST_MODELS + 500)]
    assert len(read_models(listed(*many))) == MOST_MODELS
