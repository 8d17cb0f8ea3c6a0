"""Plain text as it is written, for a person who reads along.

A stream is a job like any other: journaled, limited, retried. Only once its first words were
handed over it is neither made again nor carried elsewhere, because two models' texts cannot be put
together: it ends with :class:`CutOff`, which carries what came.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import replace

from providers.gateway.capabilities import Capabilities
from providers.gateway.dispatch import Dispatcher
from providers.gateway.errors import CutOff, ErrorClass, Fault
from providers.gateway.fingerprint import byte_count
from providers.gateway.sending import Job, Limits
from providers.gateway.strategy import BYTES_A_TOKEN
from providers.gateway.types import (
    CallScope,
    ChatCall,
    Client,
    Deployment,
    Route,
    StreamPiece,
    WireAnswer,
    WireChat,
)

IDLE_SECONDS = 20.0
"""A stream that says nothing for so long was cut off (RELIABILITY §3.7)."""

MARGIN_SECONDS = 0.1
"""A stream ends by its own limit, which knows what came, so long before that of the attempt."""

FORMS = 4
"""How many forms of a request are tried on a server that refuses parameters."""


class Stream:
    """One streamed call. The pieces wait in memory until they are read."""

    def __init__(
        self,
        call: ChatCall,
        client: Callable[[Deployment], Client],
        capabilities: Callable[[Deployment], Capabilities],
    ) -> None:
        self._call = call
        self._client = client
        self._capabilities = capabilities
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue()
        self._texts: list[str] = []

    async def read(
        self, job: Job[WireAnswer], dispatch: Dispatcher, route: Route, scope: CallScope
    ) -> AsyncGenerator[str, None]:
        """The pieces of the answer. When the reader leaves, the call is stopped."""
        job = replace(job, perform=self._perform)
        call = asyncio.ensure_future(dispatch.run(job, route, scope))
        call.add_done_callback(lambda _: self._pieces.put_nowait(None))
        try:
            while (piece := await self._pieces.get()) is not None:
                yield piece
            done = await call
            if not self._texts:  # somebody else had paid for it meanwhile
                yield done.reply.text
        finally:
            call.cancel()
            await asyncio.wait([call])
            if not call.cancelled():
                call.exception()  # marks it as seen

    async def _perform(self, target: Deployment, limits: Limits) -> WireAnswer:
        known = self._capabilities(target)
        for _ in range(FORMS):
            wire = self._wire(known, limits)
            try:
                return await self._form(target, wire, limits)
            except Fault as fault:
                if not known.learn(fault, wire):
                    raise
        raise Fault(ErrorClass.BAD_REQUEST, "every form of the request was refused")

    def _wire(self, known: Capabilities, limits: Limits) -> WireChat:
        """The call in the form this server takes, without a schema."""
        wire = known.wire(self._call, "", limits.total)
        return replace(
            wire, messages=self._call.messages, schema=None, first_byte=limits.first_byte
        )

    async def _form(self, target: Deployment, wire: WireChat, limits: Limits) -> WireAnswer:
        if target.supports_streaming is False or target.batched:
            answer = await self._client(target).chat(target, wire)
            self._hand_over(answer.text)
            return answer
        pieces = self._client(target).stream(target, wire)
        try:
            return await self._collected(pieces, limits)
        except Fault as fault:
            if self._texts:
                raise CutOff(fault, "".join(self._texts)) from fault
            raise
        finally:
            close = getattr(pieces, "aclose", None)
            if close is not None:
                await close()

    async def _collected(self, pieces: AsyncIterator[StreamPiece], limits: Limits) -> WireAnswer:
        loop = asyncio.get_running_loop()
        until, wait = loop.time() + limits.total - MARGIN_SECONDS, limits.first_byte
        while True:
            try:
                async with asyncio.timeout(min(wait, until - loop.time())):
                    piece = await anext(pieces, None)
            except TimeoutError:
                raise Fault(ErrorClass.TIMEOUT, "the answer stopped coming") from None
            if piece is None:
                raise Fault(ErrorClass.NETWORK, "the answer broke off")
            if piece.text:
                self._hand_over(piece.text)
                wait = IDLE_SECONDS
            if piece.end is not None:
                return self._whole(piece.end)

    def _hand_over(self, text: str) -> None:
        self._texts.append(text)
        self._pieces.put_nowait(text)

    def _whole(self, end: WireAnswer) -> WireAnswer:
        """The answer, with our own estimate where the server told no tokens."""
        text = "".join(self._texts)
        asked = sum(byte_count(message.content) for message in self._call.messages)
        return replace(
            end,
            text=text,
            tokens_in=end.tokens_in or asked // BYTES_A_TOKEN,
            tokens_out=end.tokens_out or byte_count(text) // BYTES_A_TOKEN,
        )
