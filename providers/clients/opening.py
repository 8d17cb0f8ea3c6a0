"""The clients of a process, one for each kind of provider that speaks over the network."""

from __future__ import annotations

from collections.abc import Callable

from providers.clients.anthropic import AnthropicClient
from providers.clients.openai_compatible import OpenAICompatibleClient
from providers.clients.scripted import ScriptedClient, rough_tokens
from providers.gateway.probe import Prober
from providers.gateway.types import Client


def open_clients(count: Callable[[str], int] | None = None) -> dict[str, Client]:
    """Clients by kind of deployment; close each explicitly.

    ``count`` gives the tokens of a text, for the scripted model's usage figures.
    """
    return {
        "openai": OpenAICompatibleClient(),
        "anthropic": AnthropicClient(),
        "scripted": ScriptedClient(count=count or rough_tokens),
    }


def open_prober(kind: str) -> Prober:
    """A client of one kind that can be asked for models and tried out; close it explicitly.

    Raises ``KeyError`` for a kind that does not speak over the network.
    """
    made: dict[str, type[OpenAICompatibleClient | AnthropicClient | ScriptedClient]] = {
        "openai": OpenAICompatibleClient,
        "anthropic": AnthropicClient,
        "scripted": ScriptedClient,
    }
    return made[kind]()
