"""What a stage may touch, made for one analysis: model calls, vectors, a thread for numbers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from analyses.models import AnalysisSession
from analyses.pipeline.base import (
    CallFailed,
    ChatAnswer,
    ChatPort,
    ChatRequest,
    Context,
    Deferred,
    EmbedPort,
    Matrix,
    Stopped,
)
from analyses.pipeline.local import LocalEngine
from analyses.pipeline.minilm import MiniLmEmbedder
from analyses.pipeline.tokens import count_tokens
from analyses.pipeline.vectors import LocalEmbedder
from analyses.plan import VECTORS, RunParams
from analyses.runner.asking import CHAT, Asked, asked_of
from core.work import owner_name
from providers.gateway.errors import TRAITS, CallError, ErrorClass, Parked
from providers.gateway.gateway import Gateway
from providers.gateway.types import CallScope, ChatCall, ChatMessage, Deployment, Route
from providers.runner import open_gateway

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
    remote: frozenset[str] = frozenset()
    """Purposes that models are asked for."""
    batched: bool = False
    """Whether conversations are read in provider batches."""

    @property
    def pausing(self) -> int:
        """Calls of this analysis that wait to be sent again."""
        return self.gateway.pausing if self.gateway is not None else 0

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
    """The gateway as the pipeline's chat port: every purpose has its own route.

    A purpose without a route is answered by the local engine. Where the local engine stands last
    in the route, it answers what no model does; reading conversations is never left to it that
    way, since its answers and a model's are not alike.
    """

    def __init__(
        self, gateway: Gateway, asked: Mapping[str, Asked], scope: CallScope, local: ChatPort
    ) -> None:
        self._gateway = gateway
        self._asked = asked
        self._scope = scope
        self._local = local

    async def __call__(self, request: ChatRequest) -> ChatAnswer:
        asked = self._asked[request.purpose]
        if asked.route is None:
            return await self._local(request)
        try:
            return await self._ask(request, asked.route)
        except CallFailed as error:
            if asked.local_last and request.purpose in REPLACEABLE and is_outage(error):
                return await self._local(request)
            raise

    async def _ask(self, request: ChatRequest, route: Route) -> ChatAnswer:
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
            result = await self._gateway.chat(call, route, self._scope)
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


REPLACEABLE = frozenset({"names", "hierarchy", "privacy"})
"""Purposes whose answers the local engine's rules may stand in for."""


def is_outage(error: CallFailed) -> bool:
    """Whether no model answered, for a reason other than the person's own limit or this text."""
    scope = TRAITS[ErrorClass(error.error_class)].scope
    return scope != "call" and error.error_class != ErrorClass.BUDGET.value


class RemoteEmbed:
    """The gateway as the pipeline's embedding port.

    All vectors of an analysis must come from one model, or they could not be compared: after the
    first answer only the model that gave it is asked, wherever it is offered in the route.
    ``model`` is the one that answered.
    """

    def __init__(self, gateway: Gateway, route: Route, scope: CallScope) -> None:
        self._gateway = gateway
        self._route = route
        self._scope = scope
        self.model = ""

    @property
    def targets(self) -> list[tuple[int, int]]:
        """Primary keys of the models that may still be asked, with their weights."""
        weights = self._route.weights or (1,) * len(self._route.targets)
        keys = [int(target.id) for target in self._route.targets]
        return list(zip(keys, weights, strict=True))

    async def __call__(self, texts: Sequence[str]) -> Matrix:
        try:
            result = await self._gateway.embed(texts, self._route, self._scope)
        except CallError as error:
            raise translated(error) from error
        if texts and not self.model:
            self.model = result.model
            self._route = only(self._route, result.model)
        return result.vectors


def only(route: Route, model: str) -> Route:
    """The part of a route that offers one embedding model."""
    kept = [
        place
        for place, target in enumerate(route.targets)
        if (target.embedding_model or target.model) == model
    ]
    weights = tuple(route.weights[place] for place in kept) if route.weights else ()
    return replace(route, targets=tuple(route.targets[place] for place in kept), weights=weights)


def translated(error: CallError) -> Exception:
    """The gateway's error as the pipeline's."""
    if isinstance(error, Parked):
        return Deferred(error.batch)
    if error.error_class is ErrorClass.CANCELLED:
        return Stopped()
    return CallFailed(
        str(error.error_class.value),
        str(error),
        fatal=error.fatal,
        retry_after=error.retry_after,
    )


def build(session: AnalysisSession, should_stop: Callable[[], bool]) -> Ports:
    """The ports an analysis was frozen with. Raises :class:`core.errors.Invalid`."""
    params = RunParams.model_validate(session.params)
    asked = asked_of(session)
    gateway = None
    if any(one.route for one in asked.values()):
        gateway = open_gateway(session.project.workspace_id, count=count_tokens)
    scope = CallScope(
        workspace=session.project.workspace_id,
        session=session.pk,
        project=session.project_id,
        user=session.created_by_id,
        key=params.key,
        owner=owner_name(),
        should_stop=should_stop,
    )
    chat: ChatPort = LocalEngine()
    vectors = asked[VECTORS].route
    minilm = vectors is None and params.vectors == "minilm"
    embed: EmbedPort = MiniLmEmbedder() if minilm else LocalEmbedder(seed=session.seed)
    if gateway and any(asked[purpose].route for purpose in CHAT):
        chat = RemoteChat(gateway, asked, scope, chat)
    if gateway and vectors:
        embed = RemoteEmbed(gateway, vectors, scope)
    return Ports(
        chat,
        embed,
        local=asked["facets"].route is None,
        local_vectors=vectors is None and not minilm,
        gateway=gateway,
        targets=_chat_targets(asked),
        remote=frozenset(purpose for purpose, one in asked.items() if one.route),
        batched=any(target.batched for target in _targets(asked["facets"])),
    )


def _chat_targets(asked: Mapping[str, Asked]) -> tuple[Deployment, ...]:
    """Every model that is asked in words for answers at once, each one time."""
    targets = (target for purpose in CHAT for target in _targets(asked[purpose]))
    return tuple({target.id: target for target in targets if not target.batched}.values())


def _targets(asked: Asked) -> tuple[Deployment, ...]:
    return asked.route.targets if asked.route else ()


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
