"""Fetching what a server offers: its list of models, and what its own API says besides.

The list is OpenAI's ``GET /models``. Servers on one's own machine tell in addresses of their own
what it leaves out: LM Studio ``GET /api/v0/models`` (kinds and context lengths), llama.cpp
``GET /props`` (the context it was started with), Ollama ``GET /api/tags`` and ``POST /api/show``
(capabilities and context). They are known by the owner their lists name, and asked at the base
URL's own host alone. No request costs tokens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from providers.clients.wire import Limits, Wire
from providers.gateway.catalogue import ModelInfo, read_models, tokens
from providers.gateway.errors import ErrorClass, Fault
from providers.gateway.types import Deployment

SECONDS = 15.0
"""Longest wait for one list."""

MOST_SHOWN = 30
"""Ollama is asked about each model by itself; beyond so many the rest stay unknown."""

NO_LIST = "the answer is not a list of models"


async def fetch_models(wire: Wire, deployment: Deployment, path: str) -> list[ModelInfo]:
    """The models a server offers, by name. Raises :class:`Fault`."""
    limits = limits_of(deployment)
    try:
        body = (await wire.get(deployment, path, limits)).body
    except Fault as fault:
        if fault.error_class is not ErrorClass.NOT_FOUND:
            raise
        # Servers before their /v1/models: Ollama has had /api/tags from the beginning.
        body = await _extra(wire, deployment, "/api/tags")
        if body is None:
            raise
    try:
        found = read_models(body)
    except ValueError:
        raise Fault(ErrorClass.SERVER, NO_LIST, status=200) from None
    more = _MORE.get(_owner(body))
    return await more(wire, deployment, found) if more else found


def limits_of(deployment: Deployment) -> Limits:
    """The deployment's own limits, but no longer than :data:`SECONDS`."""
    own = Limits.of(deployment)
    return Limits(min(own.connect, SECONDS), min(own.first_byte, SECONDS), min(own.total, SECONDS))


async def _lm_studio(wire: Wire, deployment: Deployment, found: list[ModelInfo]) -> list[ModelInfo]:
    try:
        told = read_models(await _extra(wire, deployment, "/api/v0/models"))
    except ValueError:
        return found
    known = {one.id: one for one in told}
    return [known.get(one.id, one) for one in found]


async def _llama_cpp(wire: Wire, deployment: Deployment, found: list[ModelInfo]) -> list[ModelInfo]:
    props = await _extra(wire, deployment, "/props")
    settings = props.get("default_generation_settings") if isinstance(props, Mapping) else None
    length = tokens(settings.get("n_ctx")) if isinstance(settings, Mapping) else None
    # What the server was started with, not what the model was trained for, is what it takes.
    return [replace(one, context_tokens=length or one.context_tokens) for one in found]


async def _ollama(wire: Wire, deployment: Deployment, found: list[ModelInfo]) -> list[ModelInfo]:
    gate = asyncio.Semaphore(4)

    async def shown(one: ModelInfo) -> ModelInfo:
        async with gate:
            body = await _extra(wire, deployment, "/api/show", {"model": one.id})
        return read_shown(one, body)

    return [*await asyncio.gather(*map(shown, found[:MOST_SHOWN])), *found[MOST_SHOWN:]]


def read_shown(one: ModelInfo, body: Any) -> ModelInfo:
    """A model with what Ollama's ``/api/show`` says of it ("Show Model Information").

    ``model_info`` names the context by the model's family, as in ``llama.context_length``.
    """
    if not isinstance(body, Mapping):
        return one
    info, able = body.get("model_info"), body.get("capabilities")
    if isinstance(info, Mapping):
        lengths = [value for key, value in info.items() if str(key).endswith(".context_length")]
        one = replace(one, context_tokens=tokens(lengths[0]) if lengths else None)
    if isinstance(able, list):
        embeds = "embedding" in able and "completion" not in able
        one = replace(one, embeds=embeds, tools="tools" in able)
    return one


async def _extra(
    wire: Wire, deployment: Deployment, path: str, body: Mapping[str, Any] | None = None
) -> Any:
    """An address beside the base URL's ``/v1``; ``None`` where there is nothing to be had."""
    root = deployment.base_url.rstrip("/").removesuffix("/v1")
    beside, limits = replace(deployment, base_url=root), limits_of(deployment)
    try:
        if body is None:
            return (await wire.get(beside, path, limits)).body
        return (await wire.post(beside, path, body, limits)).body
    except Fault:
        return None


def _owner(body: Any) -> str:
    """Whom the first entry of a list names as its model's owner."""
    data = body.get("data") if isinstance(body, Mapping) else None
    first = data[0] if isinstance(data, list) and data else None
    owner = first.get("owned_by") if isinstance(first, Mapping) else None
    return owner if isinstance(owner, str) else ""


_More = Callable[[Wire, Deployment, list[ModelInfo]], Awaitable[list[ModelInfo]]]

_MORE: Mapping[str, _More] = {
    "organization_owner": _lm_studio,
    "llamacpp": _llama_cpp,
    "library": _ollama,
}
