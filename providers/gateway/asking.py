"""The steps of a chat call that are about its answers: reading, following up, adding up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from providers.gateway import answers
from providers.gateway.dispatch import Done
from providers.gateway.errors import CallError, ErrorClass
from providers.gateway.fingerprint import byte_count, canonical
from providers.gateway.journal import StoredAnswer
from providers.gateway.strategy import BYTES_A_TOKEN
from providers.gateway.types import ChatCall, ChatResult, Deployment, Route, WireAnswer

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


@dataclass(frozen=True, slots=True)
class Asked:
    """One model answer, new or replayed.

    ``extra`` is the most that a second target, asked at the same time, may have cost in US
    dollars when the call was ``hedged``. ``fingerprint`` is the journal's key of the answer.
    """

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
    tokens_reasoning: int = 0
    fingerprint: str = ""
    hedged: bool = False
    extra: float | None = 0.0


def validated(call: ChatCall, route: Route) -> str:
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


def needed_tokens(size: int, max_tokens: int) -> int:
    """About the tokens in and out of a call whose prompt has ``size`` bytes, rather too few: a
    target is passed over only when the text cannot fit."""
    return size // BYTES_A_TOKEN + max_tokens


def prompt_bound(call: ChatCall, schema_text: str) -> int:
    """No fewer tokens than the prompt can have, at little cost.

    Tokenisers of today work on bytes and never make two tokens of one; a message's frame takes
    a few more. The schema counts as well, since some servers are sent it as text.
    """
    texts = [message.content for message in call.messages] + [schema_text]
    return sum(byte_count(text) + FRAME_TOKENS for text in texts) + NOTE_TOKENS


def from_stored(stored: StoredAnswer, target: Deployment, fingerprint: str = "") -> Asked:
    """An answer that was paid for earlier."""
    return Asked(
        stored.text,
        "stop",
        target,
        stored.model,
        stored.tokens_in,
        stored.tokens_out,
        stored.tokens_cached,
        stored.cost,
        replayed=True,
        fingerprint=fingerprint,
    )


def wire_answer(answer: StoredAnswer) -> WireAnswer:
    """A stored answer in the form of a new one."""
    return WireAnswer(
        answer.text,
        tokens_in=answer.tokens_in,
        tokens_out=answer.tokens_out,
        tokens_cached=answer.tokens_cached,
        model=answer.model,
    )


def next_step(reading: answers.Reading, steps: Sequence[str], replayed: bool) -> str:
    """``room``, ``repair`` or ``again``, each once; raises when nothing is left to try.

    When everything so far was a replay, failures of an earlier day included, the question is
    put again: otherwise a call that failed once could never succeed.
    """
    if reading.problem == "truncated" and "room" not in steps:
        return "room"
    if "repair" not in steps:
        return "repair"
    again = steps.count("again")
    if not again or (replayed and again < MOST_VARIANTS):
        return "again"
    raise CallError(
        ErrorClass.BAD_ANSWER, f"The model's answer could not be used: {reading.message[:200]}."
    )


def follow_up(
    call: ChatCall, asked: Asked, reading: answers.Reading, step: str, schema_text: str
) -> ChatCall:
    """The question that :func:`next_step` names."""
    if step == "room":
        return replace(
            call, max_tokens=max(call.max_tokens, min(LARGEST_ANSWER, 3 * call.max_tokens))
        )
    if step == "repair":
        return answers.repair_call(call, asked.text, reading.message, schema_text)
    return call


def from_done(done: Done[WireAnswer]) -> Asked:
    """The answer of a call that went along a route."""
    return Asked(
        done.reply.text,
        done.reply.finish_reason,
        done.target,
        done.target.model,
        done.reply.tokens_in,
        done.reply.tokens_out,
        done.reply.tokens_cached,
        done.row.cost,
        replayed=done.replayed,
        attempts=0 if done.replayed else done.failures + 1,
        latency_ms=done.row.latency_ms or 0,
        tokens_reasoning=done.reply.tokens_reasoning,
        fingerprint=done.row.fingerprint,
        hedged=done.hedged,
        extra=done.extra,
    )


def result(data: Mapping[str, object], asked: Asked, paid: Sequence[Asked]) -> ChatResult:
    """What the caller gets: the last answer, and what all of them took."""
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
        cost=_total(cost for one in new for cost in (one.cost, one.extra)),
        saved=_total(one.cost for one in old),
        replayed=not new,
        repaired=len(paid) > 1,
        attempts=sum(one.attempts for one in new),
        latency_ms=sum(one.latency_ms for one in new),
        tokens_reasoning=sum(one.tokens_reasoning for one in paid),
        hedged=any(one.hedged for one in paid),
    )


def _total(costs: Iterable[float | None]) -> float | None:
    total = 0.0
    for cost in costs:
        if cost is None:
            return None
        total += cost
    return total
