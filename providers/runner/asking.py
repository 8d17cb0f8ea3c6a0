"""One question a person puts to one model, answered as it is written."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from decimal import Decimal
from uuid import uuid4

from asgiref.sync import sync_to_async

from accounts.models import User
from core.figures import count_of, duration, money
from providers.gateway.errors import CallError, CutOff
from providers.gateway.types import CallScope, ChatCall, ChatMessage, Deployment, Route
from providers.models import LlmCall, ModelDeployment
from providers.runner.gateways import open_gateway
from providers.services.deployments import deployment_config

MOST_CHARACTERS = 2_000
MOST_TOKENS = 400
LONGEST_ANSWER = 20_000
"""Characters passed on at most: no 400 tokens are longer, but a server may ignore the limit."""

PURPOSE = "trial"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the answer, or in ``said`` how it ended; ``ok`` is false when it failed."""

    text: str = ""
    said: str = ""
    ok: bool = True


def question(text: str, mark: str) -> ChatCall:
    """The call. ``mark`` is new each time, so that no answer of before is given again."""
    return ChatCall(
        purpose=PURPOSE,
        messages=(ChatMessage("user", text[:MOST_CHARACTERS]),),
        schema={"type": "object"},
        prompt_version=mark,
        max_tokens=MOST_TOKENS,
    )


async def answer(user: User, deployment: ModelDeployment, text: str) -> AsyncGenerator[Piece, None]:
    """The model's answer as it comes, then what it took. Raises nothing: a failure is said.

    It is journalled, and counted under the limits of the workspace, the person and their key; the
    answer's text is not kept.
    """
    workspace = deployment.provider.workspace_id
    config: Deployment = await sync_to_async(deployment_config)(deployment)
    mark = f"{PURPOSE}-{uuid4().hex[:24]}"
    key = user.acting_key
    scope = CallScope(
        workspace=workspace,
        user=user.pk,
        key=key.pk if key else None,
        owner=f"trial-{mark[-8:]}",
    )
    route = Route(targets=(config,), interactive=True)
    started, first, length = time.monotonic(), None, 0
    failure = ""
    gateway = open_gateway(workspace)
    try:
        async with aclosing(gateway.stream(question(text, mark), route, scope)) as pieces:
            async for piece in pieces:
                if first is None:
                    first = time.monotonic() - started
                length += len(piece)
                yield Piece(text=piece)
                if length > LONGEST_ANSWER:
                    failure = "It wrote more than was asked for, so it was stopped."
                    break
    except CutOff as error:
        failure = f"The answer broke off. {error.fault.detail[:1].upper()}{error.fault.detail[1:]}."
    except CallError as error:
        failure = str(error)
    finally:
        # Also when the reader left: what was answered by then is not kept either.
        await gateway.aclose()
        row = await sync_to_async(_settle)(workspace, mark)
    took = time.monotonic() - started
    yield Piece(said=summary(row, config, first, took, failure), ok=not failure)


def _settle(workspace: int, mark: str) -> LlmCall | None:
    """The journal's row of the call; its text is not kept, nobody asks the same again."""
    rows = LlmCall.objects.filter(workspace=workspace, purpose=PURPOSE, prompt_version=mark)
    row = rows.order_by("-pk").first()
    rows.exclude(response="").update(response="")
    return row


def summary(
    row: LlmCall | None, config: Deployment, first: float | None, took: float, failure: str
) -> str:
    """What answered, how fast and for how much, in a line."""
    parts = [failure] if failure else []
    model = row.model if row and row.model else config.model
    parts.append(f"{config.provider} · {model}.")
    if first is not None:
        parts.append(f"First words after {duration(first)}, all after {duration(took)}.")
    if row is not None and row.tokens_out:
        tokens = f"{count_of(row.tokens_in, 'token')} in, {row.tokens_out:,} out"
        parts.append(f"{tokens}. Cost: {cost_text(row.cost)}. Not hedged.")
    return " ".join(parts)


def cost_text(cost: Decimal | None) -> str:
    """A cost of a single call, which is often far under a cent."""
    if cost is None:
        return "unpriced"
    return f"${cost:.6f}".rstrip("0").rstrip(".") if 0 < cost < Decimal("0.01") else money(cost)
