"""Texts to unit vectors, in full batches."""

from __future__ import annotations

import asyncio
import base64 as b64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from providers.gateway.capabilities import Capabilities
from providers.gateway.dispatch import Dispatcher, Done
from providers.gateway.errors import CallError, ErrorClass, Fault
from providers.gateway.fingerprint import byte_count, fingerprint, texts_hash
from providers.gateway.journal import JournalRow, StoredAnswer
from providers.gateway.sending import Job, Limits
from providers.gateway.strategy import Needs
from providers.gateway.types import (
    CallScope,
    Client,
    Deployment,
    EmbedResult,
    Matrix,
    Route,
    WireVectors,
)

Price = Callable[[Deployment, str, int, int, int], float | None]


@dataclass(frozen=True, slots=True)
class EmbedLimits:
    """A batch ends at so many texts or characters; longer texts are cut.

    OpenAI takes 2,048 inputs and 300,000 tokens a request (API reference, "Create embeddings");
    many local servers take far fewer, so the default is moderate.
    """

    texts: int = 128
    chars: int = 200_000
    text_chars: int = 24_000


class Embedder:
    """Sends batches of texts side by side and puts the vectors in order."""

    def __init__(
        self,
        dispatch: Dispatcher,
        client: Callable[[Deployment], Client],
        price: Price,
        capabilities: Callable[[Deployment], Capabilities],
        limits: EmbedLimits,
    ) -> None:
        self._dispatch = dispatch
        self._client = client
        self._price = price
        self._capabilities = capabilities
        self._limits = limits

    async def embed(self, texts: Sequence[str], route: Route, scope: CallScope) -> EmbedResult:
        """Unit vectors, shape ``(len(texts), d)``; raises :class:`CallError`.

        All batches must come from one model, or their vectors could not be compared: when a
        later target answered one of them, it is asked for all.
        """
        if not texts:
            return EmbedResult(np.zeros((0, 0), np.float32), "", 0, 0.0, 0)
        batches = list(self._batches(texts))
        route = self._dispatch.in_line(route, Needs(embeddings=True))
        while True:
            done = await self._all(batches, route, scope)
            used = [one.target for one in done]
            worst = max(used, key=route.targets.index)
            if all(target.id == worst.id for target in used):
                return _joined(done, worst)
            later = route.targets[route.targets.index(worst) :]
            route = replace(route, targets=later)

    async def _all(
        self, batches: Sequence[Sequence[str]], route: Route, scope: CallScope
    ) -> list[Done[WireVectors]]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._one(batch, route, scope)) for batch in batches]
        except* CallError as errors:
            raise _first(errors) from None
        return [task.result() for task in tasks]

    async def _one(self, batch: Sequence[str], route: Route, scope: CallScope) -> Done[WireVectors]:
        content = texts_hash(batch)
        size = sum(byte_count(text) for text in batch)

        def row(target: Deployment) -> JournalRow:
            model = target.embedding_model or target.model
            return JournalRow(
                fingerprint=fingerprint(scope.workspace, target, model, content, scope.project),
                workspace=scope.workspace,
                session=scope.session,
                project=scope.project,
                reserved=self._price(target, model, size, 0, 0),
                purpose="embeddings",
                provider=target.provider,
                model=model,
                request_hash=content,
                owner=scope.owner,
                deployment=target.id,
                user=scope.user,
                key=scope.key,
                tokens_reserved=size,
                max_age=route.max_age,
            )

        def settle(target: Deployment, reply: WireVectors, row: JournalRow) -> JournalRow:
            cost = self._price(target, row.model, reply.tokens_in, 0, 0)
            packed = pack(reply.vectors)
            return replace(row, tokens_in=reply.tokens_in, cost=cost, response=packed)

        async def perform(target: Deployment, limits: Limits) -> WireVectors:
            return await self._adapted(target, batch, limits.total)

        job = Job(row, perform, settle, unpack, needs=Needs(embeddings=True))
        return await self._dispatch.run(job, route, scope)

    async def _adapted(self, target: Deployment, batch: Sequence[str], limit: float) -> WireVectors:
        client, known = self._client(target), self._capabilities(target)
        base64 = known.base64
        try:
            reply = await client.embed(target, batch, base64=base64, timeout=limit)
        except Fault as fault:
            if not known.learn_embedding(fault, base64):
                raise
            reply = await client.embed(target, batch, base64=False, timeout=limit)
        return replace(reply, vectors=unit_rows(reply.vectors, len(batch)))

    def _batches(self, texts: Sequence[str]) -> Iterator[list[str]]:
        batch: list[str] = []
        chars = 0
        for text in texts:
            text = text[: self._limits.text_chars]
            text = text if text.strip() else "-"  # servers refuse empty input
            full = len(batch) == self._limits.texts or chars + len(text) > self._limits.chars
            if batch and full:
                yield batch
                batch, chars = [], 0
            batch.append(text)
            chars += len(text)
        yield batch


def unit_rows(vectors: Matrix, count: int) -> Matrix:
    """Rows scaled to length 1; a row of zeros becomes the neutral direction.

    Raises :class:`Fault` when rows are missing or a number is not finite.
    """
    if vectors.ndim != 2 or vectors.shape[0] != count or vectors.shape[1] == 0:
        raise Fault(ErrorClass.BAD_ANSWER, "the vectors do not match the texts")
    if not np.isfinite(vectors).all():
        raise Fault(ErrorClass.BAD_ANSWER, "a vector holds a number that is not finite")
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    scaled = np.where(norms > 0, vectors / np.where(norms > 0, norms, 1), vectors.shape[1] ** -0.5)
    return scaled.astype(np.float32)


def pack(vectors: Matrix) -> str:
    """Vectors as the journal keeps them, bit for bit: their width, then base64 of the numbers."""
    numbers = b64.b64encode(np.ascontiguousarray(vectors, dtype="<f4").tobytes())
    return f"{vectors.shape[1]}:{numbers.decode('ascii')}"


def unpack(answer: StoredAnswer) -> WireVectors:
    """The reverse of :func:`pack`."""
    width, _, numbers = answer.text.partition(":")
    flat = np.frombuffer(b64.b64decode(numbers), dtype="<f4").astype(np.float32)
    return WireVectors(flat.reshape(-1, int(width)), answer.tokens_in)


def _joined(done: Sequence[Done[WireVectors]], target: Deployment) -> EmbedResult:
    widths = {one.reply.vectors.shape[1] for one in done}
    if len(widths) > 1:
        raise CallError(ErrorClass.BAD_ANSWER, "The model's vectors differ in length.")
    costs = [0.0 if one.replayed else one.row.cost for one in done]
    return EmbedResult(
        vectors=np.vstack([one.reply.vectors for one in done]),
        model=target.embedding_model or target.model,
        tokens_in=sum(one.reply.tokens_in for one in done),
        cost=None if None in costs else sum(cost for cost in costs if cost is not None),
        calls=sum(not one.replayed for one in done),
    )


def _first(errors: BaseExceptionGroup[CallError]) -> CallError:
    """One error for many: a fatal one if there is one."""
    flat = [error for error in errors.exceptions if isinstance(error, CallError)]
    return next((error for error in flat if error.fatal), flat[0])
