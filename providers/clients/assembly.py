"""A gateway with the clients and prices of the product."""

from __future__ import annotations

from collections.abc import Mapping

from providers.clients.openai_compatible import OpenAICompatibleClient
from providers.clients.scripted import ScriptedClient
from providers.gateway.gateway import Gateway
from providers.gateway.journal import Journal
from providers.gateway.types import Client
from providers.prices import cost_of


def open_gateway(journal: Journal, extra: Mapping[str, Client] | None = None) -> Gateway:
    """A gateway over ``journal``; close it with ``aclose``, which closes the journal too.

    ``extra`` adds or replaces clients by kind, engines inside the process for instance.
    """
    clients: dict[str, Client] = {
        "openai": OpenAICompatibleClient(),
        "scripted": ScriptedClient(),
        **(extra or {}),
    }
    return Gateway(clients, journal, price=cost_of)
