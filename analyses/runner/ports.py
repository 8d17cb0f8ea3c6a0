"""What a stage may touch, made for one analysis: model calls, vectors, a thread for numbers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from analyses.models import AnalysisSession
from analyses.pipeline.base import (
    CallFailed,
    ChatAnswer,
    ChatPort,
    ChatRequest,
    Context,
    EmbedPort,
    Matrix,
    Stopped,
)
from analyses.pipeline.local import LocalEngine
from analyses.pipeline.minilm import MiniLmEmbedder
from analyses.pipeline.tokens import count_tokens
from analyses.pipeline.vectors import LocalEmbedder
from analyses.plan import RunParams
from core.work import owner_name
from providers.gateway.errors import CallError, ErrorClass
from providers.gateway.gateway import Gateway
from providers.gateway.types import CallScope, ChatCall, ChatMessage, Deployment, Route
from providers.runner import open_gateway
from providers.services import deployment_config

AHEAD = 2
"""Conversations in work for each call on the wire: the others wait for commits, and hold none."""


@dataclass(slots=True)
class Ports:
    """The ports of one analysis in this process. ``local`` says that no model is called.

    ``local_vectors``: they depend on all the texts, which have to be embedded in one piece.
    """

    chat: ChatPort
    embed: EmbedPort
    local: bool
    local_vectors: bool
    gateway: Gateway | None = None
    targets: tuple[Deployment, ...] = ()

    def share(self, calls: int) -> None:
        """Set this process's share of the calls on the wire."""
        for target in self.targets:
            if self.gateway is not None:
                self.gateway.resize(target, calls)

    async def close(self) -> None:
        """Write what waits and close connections."""
        if self.gateway is not None:
            await self.gateway.aclose()


class RemoteChat:
    """The gateway as the pipeline's chat port."""

    def __init__(self, gateway: Gateway, route: Route, scope: CallScope) -> None:
        self._gateway = gateway
        self._route = route
        self._scope = scope

    async def __call__(self, request: ChatRequest) -> ChatAnswer:
        call = ChatCall(
            purpose=request.purpose,
            messages=tuple(ChatMessage(m.role, m.content) for m in request.messages),
            schema=request.schema,
            prompt_version=request.prompt_version,
            payload=request.payload,
            max_tokens=request.max_tokens,
            temperature=request.temperature,
        )
        try:
            result = await self._gateway.chat(call, self._route, self._scope)
        except CallError as error:
            raise translated(error) from error
        return ChatAnswer(
            data=result.data,
            model=result.model,
            tokens_in=result.tokens_in,
            tokens_out=result.tokens_out,
            cost=result.cost,
            replayed=result.replayed,
            repaired=result.repaired,
        )


class RemoteEmbed:
    """The gateway as the pipeline's embedding port."""

    def __init__(self, gateway: Gateway, route: Route, scope: CallScope) -> None:
        self._gateway = gateway
        self._route = route
        self._scope = scope

    async def __call__(self, texts: Sequence[str]) -> Matrix:
        try:
            result = await self._gateway.embed(texts, self._route, self._scope)
        except CallError as error:
            raise translated(error) from error
        return result.vectors


def translated(error: CallError) -> Exception:
    """The gateway's error as the pipeline's."""
    if error.error_class is ErrorClass.CANCELLED:
        return Stopped()
    return CallFailed(str(error.error_class.value), str(error), fatal=error.fatal)


def build(session: AnalysisSession, should_stop: Callable[[], bool]) -> Ports:
    """The ports an analysis was frozen with."""
    params = RunParams.model_validate(session.params)
    chat_to = _config(session.chat, params) if session.chat else None
    embed_to = _config(session.embedding, params) if session.embedding else None
    local_chat = chat_to is None or chat_to.kind == "local"
    local_vectors = embed_to is None or embed_to.kind == "local"
    gateway = None
    if not (local_chat and local_vectors):
        gateway = open_gateway(session.project.workspace_id, count=count_tokens)
    scope = CallScope(
        workspace=session.project.workspace_id,
        session=session.pk,
        project=session.project_id,
        owner=owner_name(),
        should_stop=should_stop,
    )
    chat: ChatPort = LocalEngine()
    minilm = local_vectors and params.vectors == "minilm"
    embed: EmbedPort = MiniLmEmbedder() if minilm else LocalEmbedder(seed=session.seed)
    targets: tuple[Deployment, ...] = ()
    if gateway and chat_to and not local_chat:
        targets = (chat_to, *_fallback(session, params))
        chat = RemoteChat(gateway, Route(targets), scope)
    if gateway and embed_to and not local_vectors:
        embed = RemoteEmbed(gateway, Route((embed_to,)), scope)
    return Ports(chat, embed, local_chat, local_vectors and not minilm, gateway, targets)


def _fallback(session: AnalysisSession, params: RunParams) -> tuple[Deployment, ...]:
    """The model that is asked when the first one does not answer, if there is one to call."""
    if session.fallback is None or session.fallback_id == session.chat_id:
        return ()
    config = _config(session.fallback, params)
    return () if config.kind == "local" else (config,)


def _config(deployment: Any, params: RunParams) -> Deployment:
    config: Deployment = deployment_config(deployment, concurrency=params.concurrency)
    return config


def context(
    session: AnalysisSession,
    ports: Ports,
    *,
    threads: ThreadPoolExecutor,
    should_stop: Callable[[], bool],
    report: Callable[[int, int], None],
) -> Context:
    """The context handed to a stage; heavy functions run in ``threads``."""

    async def compute(function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(threads, function, *args)

    return Context(
        chat=ports.chat,
        embed=ports.embed,
        seed=session.seed,
        concurrency=RunParams.model_validate(session.params).concurrency
        * (1 if ports.local else AHEAD),
        report=report,
        should_stop=should_stop,
        compute=compute,
        log=logging.getLogger("openclio.pipeline"),
    )
