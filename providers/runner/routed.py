"""One question a person puts to a whole route: who answered, who was asked besides, who failed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from uuid import uuid4

from asgiref.sync import async_to_sync, sync_to_async

from accounts.models import User, Workspace
from core.errors import AppError, Conflict, Invalid
from core.figures import count_of, duration
from providers.gateway.errors import TRAITS, CallError, ErrorClass
from providers.gateway.types import CallScope, ChatCall, ChatMessage, ChatResult, Route
from providers.models import LlmAttempt, LlmCall, Purpose
from providers.runner.asking import LONGEST_ANSWER, MOST_CHARACTERS, MOST_TOKENS, cost_text
from providers.runner.gateways import open_gateway
from providers.selectors.routes import wants_vectors
from providers.services.routes import route_config

MOST_SECONDS = 90.0
"""A person waits no longer, whatever the providers' own times add up to."""

MARK = "route-"
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}
TEXTS = {
    **{one.value: traits.text for one, traits in TRAITS.items()},
    ErrorClass.CANCELLED.value: TRAITS[ErrorClass.TIMEOUT].text,  # stopped since time was up
}
BRIEFLY = "Answer the question in at most 200 words."


@dataclass(frozen=True, slots=True)
class FailedTarget:
    """A model that was asked before and failed, with what came of it in words."""

    provider: str
    model: str
    text: str


@dataclass(frozen=True, slots=True)
class Routed:
    """An answer of a route, or in ``problem`` why there is none.

    ``cost`` is all that was paid, in US dollars, ``None`` when unpriced; of it ``extra`` is the
    most that the slower of two models may have cost, which was asked ``hedged_after`` seconds
    after the first (``None``: only one was asked at a time).
    """

    answer: str = ""
    provider: str = ""
    model: str = ""
    seconds: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = 0.0
    hedged_after: float | None = None
    extra: float | None = 0.0
    failed: tuple[FailedTarget, ...] = ()
    problem: str = ""

    @property
    def hedged(self) -> bool:
        """Whether a second model was asked before the first had answered."""
        return self.hedged_after is not None

    @property
    def summary(self) -> str:
        """Who answered, how fast and for how much, in a line."""
        tokens = f"{count_of(self.tokens_in, 'token')} in, {self.tokens_out:,} out"
        said = f"{self.provider} · {self.model} answered after {duration(self.seconds)}."
        return f"{said} {tokens}. Cost: {_cost(self.cost)}."

    @property
    def hedge_text(self) -> str:
        """What asking a second model at the same time came to; empty when none was."""
        if self.hedged_after is None:
            return ""
        after = duration(self.hedged_after)
        more = "its price is not known" if self.extra is None else f"{_cost(self.extra)} more"
        return f"A second model was asked after {after}; both are paid: {more} at most."


def ask_route(user: User, workspace: Workspace, purpose: str, text: str) -> Routed:
    """Put a question to the models of a purpose, as a person who waits: see :func:`asked`."""
    if purpose not in Purpose.values or wants_vectors(purpose):
        raise Invalid(fields={"purpose": "Choose a purpose that is answered in words."})
    text = text.strip()
    if not 0 < len(text) <= MOST_CHARACTERS:
        raise Invalid(fields={"text": "Enter a question of 1 to 2,000 characters."})
    route = route_config(workspace, purpose, interactive=True)
    if not route.targets:
        raise Conflict(why="No model is on for this purpose. Switch one on, or add a provider.")
    return async_to_sync(asked)(user, workspace, route, text)


async def asked(user: User, workspace: Workspace, route: Route, text: str) -> Routed:
    """The answer of the first model that gives one; a failure of all of them is in ``problem``.

    It is journalled and counted under the limits of the workspace, the person and their key. The
    text of the answer is not kept, and no stored answer is used.
    """
    mark = f"{MARK}{uuid4().hex[:24]}"
    key = user.acting_key
    scope = CallScope(
        workspace=workspace.pk,
        user=user.pk,
        key=key.pk if key else None,
        owner=f"{MARK}{mark[-8:]}",
    )
    # Nothing of a tried question is kept, so near questions are neither looked up nor learned.
    route = replace(route, semantic="off")
    problem, result = "", None
    loop = asyncio.get_running_loop()
    started = loop.time()
    gateway = open_gateway(workspace.pk)
    try:
        async with asyncio.timeout(_patience(route)):
            result = await gateway.chat(question(text, mark), route, scope)
    except TimeoutError:
        problem = TRAITS[ErrorClass.TIMEOUT].text
    except CallError as error:
        problem = error.message
    finally:
        took = loop.time() - started
        await gateway.aclose()
        calls, attempts = await sync_to_async(_settle)(workspace.pk, mark)
    failed = _failed(attempts, result)
    if result is None:
        return Routed(seconds=took, failed=failed, problem=problem)
    return _routed(result, took, calls, failed)


def question(text: str, mark: str) -> ChatCall:
    """The call. ``mark`` is new each time, so that no answer of before is given again."""
    return ChatCall(
        purpose=Purpose.ASK.value,
        messages=(ChatMessage("system", BRIEFLY), ChatMessage("user", text)),
        schema=SCHEMA,
        prompt_version=mark,
        max_tokens=MOST_TOKENS,
    )


def unanswered(found: Routed) -> AppError:
    """The error of a route none of whose models answered."""
    return AppError("unanswered", status=502, retryable=True, why=found.problem)


def _cost(cost: float | None) -> str:
    return cost_text(None if cost is None else Decimal(f"{cost:.8f}"))


def _patience(route: Route) -> float:
    """Seconds to wait: once for every model in turn, within reason."""
    return min(MOST_SECONDS, sum(target.timeouts.total for target in route.targets))


def _settle(workspace: int, mark: str) -> tuple[list[LlmCall], list[LlmAttempt]]:
    """What the journal has of the question, in the order it was sent; answers are not kept."""
    rows = LlmCall.objects.filter(
        workspace=workspace, purpose=Purpose.ASK.value, prompt_version=mark
    )
    calls = list(rows.defer("response").order_by("sent_at", "pk"))
    attempts = LlmAttempt.objects.filter(call__in=[call.pk for call in calls])
    rows.exclude(response="").update(response="")
    return calls, list(attempts.order_by("created_at", "pk"))


def _failed(attempts: Sequence[LlmAttempt], result: ChatResult | None) -> tuple[FailedTarget, ...]:
    """Each failed send; the slower of two that was stopped has not failed."""
    stopped = ErrorClass.CANCELLED.value
    return tuple(
        FailedTarget(one.provider, one.model, _cause(one))
        for one in attempts
        if result is None or one.error_class != stopped
    )


def _cause(attempt: LlmAttempt) -> str:
    """What happened in words of the product; ``message`` is a short cause in words of our own."""
    text = TEXTS.get(attempt.error_class, "It gave no answer.")
    return f"{text} ({attempt.message})" if attempt.message else text


def _routed(
    result: ChatResult, took: float, calls: Sequence[LlmCall], failed: tuple[FailedTarget, ...]
) -> Routed:
    paid = [call for call in calls if str(call.deployment_id) == result.deployment]
    return Routed(
        answer=str(result.data["answer"])[:LONGEST_ANSWER],
        provider=result.provider,
        model=result.model,
        seconds=took,
        tokens_in=result.tokens_in,
        tokens_out=result.tokens_out,
        cost=result.cost,
        hedged_after=_between(calls) if result.hedged else None,
        extra=_extra(result.cost, paid) if result.hedged else 0.0,
        failed=failed,
    )


def _between(calls: Sequence[LlmCall]) -> float:
    """Seconds from the first send to the second."""
    return (calls[1].sent_at - calls[0].sent_at).total_seconds() if len(calls) > 1 else 0.0


def _extra(cost: float | None, paid: Sequence[LlmCall]) -> float | None:
    """What is left of the whole cost without the model that answered."""
    if cost is None or any(call.cost is None for call in paid):
        return None
    return max(0.0, cost - float(sum(call.cost or 0 for call in paid)))
