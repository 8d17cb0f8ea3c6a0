"""The one door through which the product calls a model."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

from providers.gateway import answers
from providers.gateway.asking import (
    Asked,
    follow_up,
    from_done,
    from_stored,
    needed_tokens,
    next_step,
    prompt_bound,
    result,
    validated,
    wire_answer,
)
from providers.gateway.board import Board
from providers.gateway.breaker import BreakerPolicy
from providers.gateway.capabilities import Capabilities
from providers.gateway.clock import Clock, SystemClock
from providers.gateway.dispatch import Dispatcher
from providers.gateway.embedding import Embedder, EmbedLimits
from providers.gateway.errors import CallError, ErrorClass, Fault, Parked
from providers.gateway.fingerprint import content_hash, fingerprint
from providers.gateway.flight import SingleFlight
from providers.gateway.health import HealthStore
from providers.gateway.hedge import Hedger
from providers.gateway.journal import Journal, JournalRow, bought_by, fresh
from providers.gateway.nearby import Look, Nearby
from providers.gateway.retry import RetryPolicy
from providers.gateway.semantic import SemanticCache
from providers.gateway.sending import Job, Limits
from providers.gateway.strategy import Needs
from providers.gateway.streaming import Stream
from providers.gateway.types import (
    CallScope,
    ChatCall,
    ChatResult,
    Client,
    Deployment,
    EmbedResult,
    Route,
    WireAnswer,
)

Price = Callable[[Deployment, str, int, int, int], float | None]
"""(deployment, model, tokens in, tokens out, of those in: cached) -> US dollars or ``None``."""


def list_price(
    target: Deployment, model: str, tokens_in: int, tokens_out: int, tokens_cached: int
) -> float | None:
    """The cost by the deployment's own prices alone; ``None`` when one of them is unknown."""
    if target.price_in is None or (target.price_out is None and tokens_out):
        return None
    return (tokens_in * target.price_in + tokens_out * (target.price_out or 0.0)) / 1_000_000


class Gateway:
    """Calls models: journalled, replayed, deduplicated, bounded, retried and checked.

    One gateway serves a process: it holds the limiters and what it learned of each deployment.
    ``clients`` maps a deployment's kind to what carries its requests.
    """

    def __init__(
        self,
        clients: Mapping[str, Client],
        journal: Journal,
        *,
        price: Price = list_price,
        policy: RetryPolicy | None = None,
        embed_limits: EmbedLimits | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        health: HealthStore | None = None,
        breaker: BreakerPolicy | None = None,
        semantic: SemanticCache | None = None,
    ) -> None:
        self._clients = clients
        self._journal = journal
        self._price = price
        clock = clock or SystemClock()
        rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        self._board = Board(health, breaker or BreakerPolicy(), clock, rng)
        self._dispatch = Dispatcher(journal, self._board, policy or RetryPolicy(), clock, rng)
        self._nearby = Nearby(semantic)
        self._hedger = Hedger(self._dispatch, self._board, clock)
        self._capabilities: dict[str, Capabilities] = {}
        self._flights: SingleFlight[Asked] = SingleFlight(_its_own)
        self._embedder = Embedder(
            self._dispatch, self.client, price, self.capabilities, embed_limits or EmbedLimits()
        )

    def client(self, target: Deployment) -> Client:
        """What carries a deployment's requests; raises :class:`CallError` for an unknown kind."""
        client = self._clients.get("bulk" if target.batched else target.kind)
        if client is None:
            raise CallError(
                ErrorClass.NOT_FOUND, f"Providers of kind {target.kind!r} cannot be called here."
            )
        return client

    def resize(self, target: Deployment, concurrency: int) -> None:
        """Change how many calls a deployment may have on the wire at most, while calls run."""
        self._board.watch(target).lane.resize(concurrency)

    def in_flight(self, target: Deployment) -> int:
        """How many calls a deployment has on the wire now."""
        return self._board.watch(target).lane.in_flight

    @property
    def pausing(self) -> int:
        """How many calls wait to be sent again: they hold no room anywhere."""
        return self._dispatch.pausing

    def capabilities(self, target: Deployment) -> Capabilities:
        """What was learned of a deployment in this process."""
        known = self._capabilities.get(target.id)
        if known is None:
            known = self._capabilities[target.id] = Capabilities(schema=target.supports_schema)
        return known

    async def aclose(self) -> None:
        """Close the clients, then the journal, and tell the others what is left to tell."""
        for client in self._clients.values():
            await client.aclose()
        await self._nearby.aclose()
        await self._journal.aclose()
        await self._board.aclose()

    async def chat(self, call: ChatCall, route: Route, scope: CallScope) -> ChatResult:
        """A checked answer to a structured question.

        A truncated answer is asked for once more with room to finish, one that cannot be used is
        repaired once; when that did not help, the question is put once more from scratch.
        Raises :class:`CallError`.
        """
        schema_text, look = validated(call, route), Look()
        asked = await self._ask(call, schema_text, route, scope, look=look)
        reading = answers.read_answer(asked.text, asked.finish_reason, schema_text)
        paid, steps = [asked], [""]
        while reading.data is None:
            self._note_unreadable(asked, reading)
            steps.append(next_step(reading, steps, all(one.replayed for one in paid)))
            follow = follow_up(call, asked, reading, steps[-1], schema_text)
            asked = await self._ask(follow, schema_text, route, scope, steps.count("again"))
            paid.append(asked)
            reading = answers.read_answer(asked.text, asked.finish_reason, schema_text)
        self._note_readable(asked)
        if len(paid) == 1 and not asked.replayed and self._nearby.looks(route, scope):
            self._nearby.learn(call, asked.target, scope, asked.fingerprint, look, reading.data)
        return result(reading.data, asked, paid)

    async def embed(self, texts: Sequence[str], route: Route, scope: CallScope) -> EmbedResult:
        """Unit vectors of the texts, in their order. Raises :class:`CallError`."""
        return await self._embedder.embed(texts, route, scope)

    async def stream(
        self, call: ChatCall, route: Route, scope: CallScope
    ) -> AsyncGenerator[str, None]:
        """The pieces of an answer in plain text; ``call.schema`` is not asked for.

        Raises :class:`CallError`; after the first piece :class:`CutOff`, with what came. Read to
        the end, or close it (``contextlib.aclosing``): then the call is stopped.
        """
        schema_text = validated(call, route)
        content = content_hash(call)
        keys = self._keys(content, route, scope)
        found = await self._replay(keys, call.purpose, route, scope)
        if found is not None:
            yield found.text
            return
        job = self._job(call, schema_text, keys, content, route, scope)
        reader = Stream(call, self.client, self.capabilities)
        async with aclosing(reader.read(job, self._dispatch, route, scope)) as pieces:
            async for piece in pieces:
                yield piece

    async def _ask(
        self,
        call: ChatCall,
        schema_text: str,
        route: Route,
        scope: CallScope,
        variant: int = 0,
        look: Look | None = None,
    ) -> Asked:
        content = content_hash(call, variant)
        keys = self._keys(content, route, scope)

        async def work() -> Asked:
            found = await self._replay(keys, call.purpose, route, scope)
            if found is None and look is not None:
                found = await self._nearby.find(call, schema_text, route, scope, look)
            if found is not None:
                return found
            job = self._job(call, schema_text, keys, content, route, scope)
            return from_done(await self._hedger.run(job, route, scope))

        asked, shared = await self._flights.run(keys[route.targets[0].id], work)
        return replace(asked, replayed=True, attempts=0) if shared else asked

    def _keys(self, content: str, route: Route, scope: CallScope) -> dict[str, str]:
        return {
            target.id: fingerprint(scope.workspace, target, target.model, content, scope.project)
            for target in route.targets
        }

    async def _replay(
        self, keys: Mapping[str, str], purpose: str, route: Route, scope: CallScope
    ) -> Asked | None:
        targets = [target for target in route.targets if target.journaled]
        stored = await self._journal.lookup([keys[target.id] for target in targets])
        for target in targets:
            answer = stored.get(keys[target.id])
            if answer is not None and fresh(answer, route.max_age, scope.session):
                if not bought_by(answer, scope.session):
                    self._journal.spared(answer, purpose, scope.project)
                return from_stored(answer, target, keys[target.id])
        return None

    def _job(
        self,
        call: ChatCall,
        schema_text: str,
        keys: Mapping[str, str],
        content: str,
        route: Route,
        scope: CallScope,
    ) -> Job[WireAnswer]:
        size = prompt_bound(call, schema_text)

        def row(target: Deployment) -> JournalRow:
            return JournalRow(
                fingerprint=keys[target.id],
                workspace=scope.workspace,
                session=scope.session,
                project=scope.project,
                reserved=self._price(target, target.model, size, call.max_tokens, 0),
                purpose=call.purpose,
                provider=target.provider,
                model=target.model,
                request_hash=content,
                prompt_version=call.prompt_version,
                owner=scope.owner,
                deployment=target.id,
                user=scope.user,
                key=scope.key,
                tokens_reserved=size + call.max_tokens,
                batched=target.batched,
                max_age=route.max_age,
            )

        async def perform(target: Deployment, limits: Limits) -> WireAnswer:
            keep_as = keys[target.id] if target.reconciles or target.batched else ""
            return await self._adapted(target, call, schema_text, limits, keep_as)

        async def find(target: Deployment, row: JournalRow) -> WireAnswer | None:
            return await self.client(target).find(target, row.fingerprint)

        def settle(target: Deployment, answer: WireAnswer, row: JournalRow) -> JournalRow:
            return replace(
                row,
                response=answer.text,
                tokens_in=answer.tokens_in,
                tokens_out=answer.tokens_out,
                tokens_cached=answer.tokens_cached,
                tokens_reasoning=answer.tokens_reasoning,
                cost=self._price(
                    target,
                    target.model,
                    answer.tokens_in,
                    answer.tokens_out,
                    answer.tokens_cached,
                ),
            )

        needs = Needs(
            needed_tokens(size, call.max_tokens), price=lambda target: row(target).reserved
        )
        return Job(row, perform, settle, wire_answer, find, needs, route.interactive)

    async def _adapted(
        self,
        target: Deployment,
        call: ChatCall,
        schema_text: str,
        limits: Limits,
        keep_as: str,
    ) -> WireAnswer:
        """Send, and where the server refuses one of our parameters, learn it and send again."""
        client = self.client(target)
        known = self.capabilities(target)
        for _ in range(4):
            wire = known.wire(call, schema_text, limits.total, keep_as)
            wire = replace(wire, first_byte=limits.first_byte)
            try:
                return await client.chat(target, wire)
            except Fault as fault:
                if not known.learn(fault, wire):
                    raise
        raise Fault(ErrorClass.BAD_REQUEST, "every form of the request was refused")

    def _note_unreadable(self, asked: Asked, reading: answers.Reading) -> None:
        if reading.problem == "unreadable" and asked.text.strip() and not asked.replayed:
            self.capabilities(asked.target).doubt_schema()

    def _note_readable(self, asked: Asked) -> None:
        if not asked.replayed:
            self.capabilities(asked.target).confirm_schema()


def _its_own(error: Exception) -> bool:
    """Whether a call failed by its asker's wish or limit, which are not those of others."""
    own = (ErrorClass.CANCELLED, ErrorClass.BUDGET)
    return (
        isinstance(error, CallError) and not isinstance(error, Parked) and error.error_class in own
    )
