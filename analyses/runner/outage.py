"""Telling a provider that is away from a conversation that cannot be read.

A failure of the provider or the key says nothing about a conversation: it is tried again, and in
the end the analysis waits. Only when a small question beside it is answered is the conversation to
blame.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Generic, TypeVar
from uuid import uuid4

from analyses.pipeline.base import CallFailed, ChatPort, ChatRequest, Message, Stopped
from providers.gateway.errors import TRAITS

T = TypeVar("T")

log = logging.getLogger("openclio.worker")

PASSING = frozenset(str(sort.value) for sort, traits in TRAITS.items() if traits.scope != "call")
"""Classes of error that say nothing about the conversation asked about."""

OWN = frozenset({"timeout", "server"})
"""Of these, the classes that one conversation alone may cause: too long, or it trips a server."""

AGAIN = (1.0, 4.0, 10.0)
"""Seconds before a conversation that met an outage is asked about again, one try each."""


def passing(error: CallFailed) -> bool:
    """Whether the error will pass, or at least is no fault of what was asked."""
    return error.fatal or error.error_class in PASSING


async def to_blame(error_class: str, chat: ChatPort | None, asked: object = None) -> bool:
    """Whether what was asked is itself the cause: the provider answers another question now.

    The other question is put to the models of the same purpose as ``asked``, else to those that
    read.
    """
    if chat is None or error_class not in OWN:
        return False
    try:
        purpose = asked.purpose if isinstance(asked, ChatRequest) else "facets"
        await chat(replace(_question(), purpose=purpose))
    except (CallFailed, Stopped):
        return False
    return True


def _question() -> ChatRequest:
    """A question of a few tokens that no journal knows; it is journaled and counted like any."""
    text = f'Answer with the JSON object {{"ok": true}} and nothing else. Reference {uuid4().hex}.'
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
        "additionalProperties": False,
    }
    return ChatRequest(
        purpose="facets",
        messages=(Message("user", text),),
        schema=schema,
        payload={},
        prompt_version="probe-1",
        max_tokens=100,
    )


class Sheltered(Generic[T]):
    """A port whose calls go on when the stage that asked is stopped, so that no answer is lost.

    An outage is raised as fatal, so that the stage waits for its end instead of doing without.
    ``chat`` answers whether the provider is at fault; without it, it is.
    """

    def __init__(self, port: Callable[[Any], Awaitable[T]], chat: ChatPort | None = None) -> None:
        self._port = port
        self._chat = chat
        self._out: set[asyncio.Future[T]] = set()

    async def __call__(self, request: Any) -> T:
        call = asyncio.ensure_future(self._port(request))
        self._out.add(call)
        call.add_done_callback(self._out.discard)
        try:
            return await asyncio.shield(call)
        except CallFailed as error:
            if error.fatal or not passing(error):
                raise
            if await to_blame(error.error_class, self._chat, request):
                raise
            raise CallFailed(
                error.error_class, error.message, fatal=True, retry_after=error.retry_after
            ) from error

    async def settle(self) -> None:
        """Wait until every call that is out has its answer in the journal."""
        await asyncio.gather(*self._out, return_exceptions=True)
