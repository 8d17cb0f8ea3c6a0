"""The one door through which the product calls a model."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from providers.gateway import answers
from providers.gateway.capabilities import Capabilities
from providers.gateway.dispatch import Clock, Dispatcher, Done, Job, SystemClock
from providers.gateway.embedding import Embedder, EmbedLimits
from providers.gateway.errors import CallError, ErrorClass, Fault
from providers.gateway.fingerprint import byte_count, canonical, content_hash, fingerprint
from providers.gateway.flight import SingleFlight
from providers.gateway.journal import Journal, JournalRow, StoredAnswer
from providers.gateway.retry import RetryPolicy
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

MAX_PROMPT_CHARS = 4_000_000
"""Longer prompts fit no model and are refused before anything is hashed or sent."""

LARGEST_ANSWER = 8_192
"""Most tokens asked for when a truncated answer is asked for again."""

MOST_VARIANTS = 8
"""How often a question whose stored answers are all bad is put again over time."""

FRAME_TOKENS = 16
"""Tokens around a message: its role and marks, generously."""

NOTE_TOKENS = 64
"""Tokens of the sentence that introduces a schema in text."""

Price = Callable[[Deployment, str, int, int, int], float | None]
"""(deployment, model, tokens in, tokens out, of those in: cached) -> US dollars or ``None``."""


def list_price(
    target: Deployment, model: str, tokens_in: int, tokens_out: int, tokens_cached: int
) -> float | None:
    """The cost by the deployment's own prices alone; ``None`` when one of them is unknown."""
    if target.price_in is None or (target.price_out is None and tokens_out):
        return None
    return (tokens_in * target.price_in + tokens_out * (target.price_out or 0.0)) / 1_000_000


@dataclass(frozen=True, slots=True)
class _Asked:
    """One model answer, new or replayed."""

    text: str
    finish_reason: str
    target: Deployment
    model: str
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    cost: float | None
    replayed: bool
    attempts: int = 0
    latency_ms: int = 0


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
    ) -> None:
        self._clients = clients
        self._journal = journal
        self._price = price
        self._dispatch = Dispatcher(
            journal,
            policy or RetryPolicy(),
            clock or SystemClock(),
            rng or random.Random(),  # noqa: S311 - jitter, no secret
        )
        self._capabilities: dict[str, Capabilities] = {}
        self._flights: SingleFlight[_Asked] = SingleFlight()
        self._embedder = Embedder(
            self._dispatch, self.client, price, self.capabilities, embed_limits or EmbedLimits()
        )

    def client(self, target: Deployment) -> Client:
        """What carries a deployment's requests; raises :class:`CallError` for an unknown kind."""
        client = self._clients.get(target.kind)
        if client is None:
            raise CallError(
                ErrorClass.NOT_FOUND, f"Providers of kind {target.kind!r} cannot be called here."
            )
        return client

    def resize(self, target: Deployment, concurrency: int) -> None:
        """Change how many calls a deployment may have on the wire, while calls run."""
        self._dispatch.lane(target).resize(concurrency)

    def in_flight(self, target: Deployment) -> int:
        """How many calls a deployment has on the wire now."""
        return self._dispatch.lane(target).flying.active

    def capabilities(self, target: Deployment) -> Capabilities:
        """What was learned of a deployment in this process."""
        known = self._capabilities.get(target.id)
        if known is None:
            known = self._capabilities[target.id] = Capabilities(schema=target.supports_schema)
        return known

    async def aclose(self) -> None:
        """Close the clients, then the journal."""
        for client in self._clients.values():
            await client.aclose()
        await self._journal.aclose()

    async def chat(self, call: ChatCall, route: Route, scope: CallScope) -> ChatResult:
        """A checked answer to a structured question.

        A truncated answer is asked for once more with room to finish, one that breaks the schema
        is repaired once, one that is no JSON at all is asked for once more from scratch.
        Raises :class:`CallError`.
        """
        schema_text = _validated(call, route)
        asked = await self._ask(call, schema_text, route, scope)
        reading = answers.read_answer(asked.text, asked.finish_reason, schema_text)
        paid, steps = [asked], [""]
        while reading.data is None:
            self._note_unreadable(asked, reading)
            steps.append(_next_step(reading, steps, all(one.replayed for one in paid)))
            follow = _follow_up(call, asked, reading, steps[-1], schema_text)
            asked = await self._ask(follow, schema_text, route, scope, steps.count("again"))
            paid.append(asked)
            reading = answers.read_answer(asked.text, asked.finish_reason, schema_text)
        self._note_readable(asked)
        return _result(reading.data, asked, paid)

    async def embed(self, texts: Sequence[str], route: Route, scope: CallScope) -> EmbedResult:
        """Unit vectors of the texts, in their order. Raises :class:`CallError`."""
        return await self._embedder.embed(texts, route, scope)

    async def _ask(
        self,
        call: ChatCall,
        schema_text: str,
        route: Route,
        scope: CallScope,
        variant: int = 0,
    ) -> _Asked:
        content = content_hash(call, variant)
        keys = {
            target.id: fingerprint(scope.workspace, target, target.model, content)
            for target in route.targets
        }

        async def work() -> _Asked:
            found = await self._replay(keys, route)
            if found is not None:
                return found
            job = self._job(call, schema_text, keys, content, scope)
            return _from_done(await self._dispatch.run(job, route, scope))

        asked, shared = await self._flights.run(keys[route.targets[0].id], work)
        return replace(asked, replayed=True, attempts=0) if shared else asked

    async def _replay(self, keys: Mapping[str, str], route: Route) -> _Asked | None:
        targets = [target for target in route.targets if target.journaled]
        stored = await self._journal.lookup([keys[target.id] for target in targets])
        for target in targets:
            answer = stored.get(keys[target.id])
            if answer is not None:
                return _Asked(
                    answer.text,
                    "stop",
                    target,
                    answer.model,
                    answer.tokens_in,
                    answer.tokens_out,
                    answer.tokens_cached,
                    answer.cost,
                    replayed=True,
                )
        return None

    def _job(
        self,
        call: ChatCall,
        schema_text: str,
        keys: Mapping[str, str],
        content: str,
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
            )

        async def perform(target: Deployment, limit: float) -> WireAnswer:
            keep_as = keys[target.id] if target.reconciles else ""
            return await self._adapted(target, call, schema_text, limit, keep_as)

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

        return Job(row, perform, settle, _wire_answer, find)

    async def _adapted(
        self,
        target: Deployment,
        call: ChatCall,
        schema_text: str,
        limit: float,
        keep_as: str,
    ) -> WireAnswer:
        """Send, and where the server refuses one of our parameters, learn it and send again."""
        client = self.client(target)
        known = self.capabilities(target)
        for _ in range(4):
            wire = known.wire(call, schema_text, limit, keep_as)
            try:
                return await client.chat(target, wire)
            except Fault as fault:
                if not known.learn(fault, wire):
                    raise
        raise Fault(ErrorClass.BAD_REQUEST, "every form of the request was refused")

    def _note_unreadable(self, asked: _Asked, reading: answers.Reading) -> None:
        if reading.problem == "unreadable" and asked.text.strip() and not asked.replayed:
            self.capabilities(asked.target).doubt_schema()

    def _note_readable(self, asked: _Asked) -> None:
        if not asked.replayed:
            self.capabilities(asked.target).confirm_schema()


def _validated(call: ChatCall, route: Route) -> str:
    """Refuse a call that cannot be right; give back the schema's canonical text."""
    if not route.targets:
        raise CallError(ErrorClass.NOT_FOUND, "No provider is set for this step.", fatal=True)
    size = sum(len(message.content) for message in call.messages)
    if not size or size > MAX_PROMPT_CHARS or call.max_tokens < 1:
        raise CallError(ErrorClass.BAD_REQUEST, "The prompt is empty or far too long.")
    schema_text = canonical(call.schema).decode("utf-8", "replace")
    try:
        answers.check_schema(schema_text)
    except ValueError:
        raise CallError(ErrorClass.BAD_REQUEST, "The answer's schema is not valid.") from None
    return schema_text


def prompt_bound(call: ChatCall, schema_text: str) -> int:
    """No fewer tokens than the prompt can have, at little cost.

    Tokenisers of today work on bytes and never make two tokens of one; a message's frame takes
    a few more. The schema counts as well, since some servers are sent it as text.
    """
    texts = [message.content for message in call.messages] + [schema_text]
    return sum(byte_count(text) + FRAME_TOKENS for text in texts) + NOTE_TOKENS


def _wire_answer(answer: StoredAnswer) -> WireAnswer:
    return WireAnswer(
        answer.text,
        tokens_in=answer.tokens_in,
        tokens_out=answer.tokens_out,
        tokens_cached=answer.tokens_cached,
        model=answer.model,
    )


def _next_step(reading: answers.Reading, steps: Sequence[str], replayed: bool) -> str:
    """``room``, ``repair`` or ``again``, each once; raises when nothing is left to try.

    When everything so far was a replay, failures of an earlier day included, the question is
    put again: otherwise a call that failed once could never succeed.
    """
    if reading.problem == "truncated" and "room" not in steps:
        return "room"
    if "repair" not in steps:
        return "repair"
    again = steps.count("again")
    if (reading.problem != "invalid" and not again) or (replayed and again < MOST_VARIANTS):
        return "again"
    raise CallError(
        ErrorClass.BAD_ANSWER, f"The model's answer could not be used: {reading.message[:200]}."
    )


def _follow_up(
    call: ChatCall, asked: _Asked, reading: answers.Reading, step: str, schema_text: str
) -> ChatCall:
    if step == "room":
        return replace(
            call, max_tokens=max(call.max_tokens, min(LARGEST_ANSWER, 3 * call.max_tokens))
        )
    if step == "repair":
        return answers.repair_call(call, asked.text, reading.message, schema_text)
    return call


def _from_done(done: Done[WireAnswer]) -> _Asked:
    return _Asked(
        done.reply.text,
        done.reply.finish_reason,
        done.target,
        done.target.model,
        done.reply.tokens_in,
        done.reply.tokens_out,
        done.reply.tokens_cached,
        done.row.cost,
        replayed=done.replayed,
        attempts=0 if done.replayed else done.row.attempt,
        latency_ms=done.row.latency_ms or 0,
    )


def _result(data: Mapping[str, object], asked: _Asked, paid: Sequence[_Asked]) -> ChatResult:
    new = [one for one in paid if not one.replayed]
    old = [one for one in paid if one.replayed]
    return ChatResult(
        data=data,
        model=asked.model,
        provider=asked.target.provider,
        deployment=asked.target.id,
        tokens_in=sum(one.tokens_in for one in paid),
        tokens_out=sum(one.tokens_out for one in paid),
        tokens_cached=sum(one.tokens_cached for one in paid),
        cost=_total(one.cost for one in new),
        saved=_total(one.cost for one in old),
        replayed=not new,
        repaired=len(paid) > 1,
        attempts=sum(one.attempts for one in new),
        latency_ms=sum(one.latency_ms for one in new),
    )


def _total(costs: Iterable[float | None]) -> float | None:
    total = 0.0
    for cost in costs:
        if cost is None:
            return None
        total += cost
    return total
