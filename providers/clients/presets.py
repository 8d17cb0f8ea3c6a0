"""The providers the product knows by name: where they are and how they want to be asked.

Base URLs, headers and what is offered come from each provider's own API reference as of 2026:
OpenAI ("API reference", "Batch API"), Azure ("Azure OpenAI in Microsoft Foundry Models v1 API"),
Anthropic ("Messages", "Message Batches", "Models"), Google ("OpenAI compatibility"), Mistral ("API",
"Batch inference"), OpenRouter, Groq and Together ("OpenAI compatibility"), Ollama ("OpenAI
compatibility"), vLLM ("OpenAI-compatible server"), LM Studio ("OpenAI compatibility endpoints"),
llama.cpp (``tools/server/README.md``). What is said of capabilities is a first assumption; a test
of the provider and its answers correct it, model by model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Blank:
    """A part of a base URL that the owner fills in. ``pattern`` must match all of it."""

    name: str
    label: str
    help: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Preset:
    """One provider, ready to be filled into the form.

    ``kind`` is a value of ``ProviderKind``. ``base_url`` may hold ``{name}`` for each of
    ``blanks`` and is empty where the owner types all of it. ``auth`` is how the key is sent:
    ``bearer``, ``api-key`` or ``x-api-key``. ``key_text`` says where to get a key. ``local_port``
    is where a server on this machine listens unless told otherwise, 0 for one elsewhere.
    ``schema``, ``tools``, ``streaming`` and ``embeddings`` are ``None`` where it depends on the
    model. ``chat_model`` and ``embedding_model`` are names that have lasted; else empty, and the
    list of models is fetched. ``offers_batches``: half the price, within a day.
    """

    key: str
    name: str
    kind: str
    base_url: str
    text: str
    auth: str = "bearer"
    needs_key: bool = True
    key_text: str = ""
    blanks: tuple[Blank, ...] = ()
    local_port: int = 0
    schema: bool | None = None
    tools: bool | None = None
    streaming: bool | None = True
    embeddings: bool | None = None
    chat_model: str = ""
    embedding_model: str = ""
    offers_batches: bool = False

    @property
    def local(self) -> str:
        """Host and port of the server on this machine, empty for one elsewhere."""
        return f"{LOOPBACK}:{self.local_port}" if self.local_port else ""

    def url(self, filled: Mapping[str, str] = MappingProxyType({})) -> str:
        """The base URL with its blanks filled in; raises ``KeyError`` when one is missing."""
        text = self.base_url
        for blank in self.blanks:
            text = text.replace("{" + blank.name + "}", filled[blank.name])
        return text


PRESETS: tuple[Preset, ...] = (
    Preset(
        key="openai",
        name="OpenAI",
        kind="openai",
        base_url="https://api.openai.com/v1",
        text="GPT models and embeddings.",
        key_text="Under API keys in the settings of your organization at platform.openai.com.",
        schema=True,
        tools=True,
        embeddings=True,
        embedding_model="text-embedding-3-small",
        offers_batches=True,
    ),
    Preset(
        key="azure",
        name="Azure OpenAI",
        kind="openai",
        base_url="https://{resource}.openai.azure.com/openai/v1",
        text="OpenAI's models in your own Azure subscription. "
        "The model is the name you gave the deployment.",
        auth="api-key",
        key_text="Under Keys and Endpoint of the resource in the Azure portal.",
        blanks=(
            Blank(
                name="resource",
                label="Resource",
                help="The first part of the endpoint, before .openai.azure.com.",
                pattern=r"[A-Za-z0-9][A-Za-z0-9-]{0,62}",
            ),
        ),
        schema=True,
        tools=True,
        embeddings=True,
    ),
    Preset(
        key="anthropic",
        name="Anthropic",
        kind="anthropic",
        base_url="https://api.anthropic.com/v1",
        text="Claude models. No embeddings.",
        auth="x-api-key",
        key_text="Under API keys in the Claude Console, platform.claude.com.",
        schema=True,
        tools=True,
        embeddings=False,
        offers_batches=True,
    ),
    Preset(
        key="google",
        name="Google Gemini",
        kind="openai",
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        text="Gemini models and embeddings, through Google's OpenAI-compatible address.",
        key_text="Under API keys in Google AI Studio, aistudio.google.com.",
        schema=True,
        tools=True,
        embeddings=True,
        embedding_model="gemini-embedding-001",
    ),
    Preset(
        key="mistral",
        name="Mistral",
        kind="openai",
        base_url="https://api.mistral.ai/v1",
        text="Mistral's models and embeddings, hosted in Europe.",
        key_text="Under API keys in Mistral's console, console.mistral.ai.",
        schema=True,
        tools=True,
        embeddings=True,
        chat_model="mistral-small-latest",
        embedding_model="mistral-embed",
        offers_batches=True,
    ),
    Preset(
        key="openrouter",
        name="OpenRouter",
        kind="openai",
        base_url="https://openrouter.ai/api/v1",
        text="Models of many providers behind one key. Names carry the maker, as in maker/model.",
        key_text="Under Keys in the settings at openrouter.ai.",
    ),
    Preset(
        key="groq",
        name="Groq",
        kind="openai",
        base_url="https://api.groq.com/openai/v1",
        text="Open models at high speed. No embeddings.",
        key_text="Under API Keys in Groq's console, console.groq.com.",
        embeddings=False,
    ),
    Preset(
        key="together",
        name="Together AI",
        kind="openai",
        base_url="https://api.together.xyz/v1",
        text="Open models and embeddings.",
        key_text="Under API keys in the settings at api.together.ai.",
    ),
    Preset(
        key="ollama",
        name="Ollama",
        kind="openai",
        base_url=f"http://{LOOPBACK}:11434/v1",
        text="Models on your own machine. Nothing leaves it.",
        needs_key=False,
        local_port=11434,
        schema=True,
        embedding_model="nomic-embed-text",
    ),
    Preset(
        key="vllm",
        name="vLLM",
        kind="openai",
        base_url=f"http://{LOOPBACK}:8000/v1",
        text="Models on your own graphics cards. A key is needed only if the server was started "
        "with one.",
        needs_key=False,
        local_port=8000,
        schema=True,
    ),
    Preset(
        key="lmstudio",
        name="LM Studio",
        kind="openai",
        base_url=f"http://{LOOPBACK}:1234/v1",
        text="Models on your own machine, with the local server of LM Studio switched on.",
        needs_key=False,
        local_port=1234,
        schema=True,
    ),
    Preset(
        key="llamacpp",
        name="llama.cpp server",
        kind="openai",
        base_url=f"http://{LOOPBACK}:8080/v1",
        text="One model on your own machine, served by llama-server.",
        needs_key=False,
        local_port=8080,
        schema=True,
    ),
    Preset(
        key="compatible",
        name="Any OpenAI-compatible server",
        kind="openai",
        base_url="",
        text="The base URL is the part before /chat/completions, usually ending in /v1.",
        needs_key=False,
        key_text="From whoever runs the server, if it asks for one.",
        streaming=None,
    ),
    Preset(
        key="scripted",
        name="Scripted provider",
        kind="scripted",
        base_url="",
        text="Made-up but plausible answers inside this program, for trying things out. Free.",
        needs_key=False,
        schema=True,
        tools=True,
        embeddings=True,
        chat_model="scripted-1",
        embedding_model="scripted-embed",
    ),
)
"""In the order in which they are offered."""

_BY_KEY = {one.key: one for one in PRESETS}


def preset(key: str) -> Preset | None:
    """The preset of that key, ``None`` for one that does not exist (any more)."""
    return _BY_KEY.get(key)
