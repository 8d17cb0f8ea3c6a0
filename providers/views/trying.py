"""A question to a model, answered in the page as it is written."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.views.decorators.http import require_POST

from accounts.models import Role, User
from accounts.selectors import person
from accounts.services import require
from core.errors import Conflict, Invalid
from providers import selectors
from providers.models import ModelDeployment
from providers.runner import asking
from providers.selectors import detail as reads

LINES = "application/x-ndjson"


@login_required
@require_POST
def try_it(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The answer as text that grows: one JSON object a line for scripts, else plain text."""
    user = person(request)
    row = selectors.provider(user, pk)
    require(user, row.workspace, Role.ANALYST)
    text = request.POST.get("text", "").strip()
    if not 0 < len(text) <= asking.MOST_CHARACTERS:
        raise Invalid(fields={"text": "Enter a question of 1 to 2,000 characters."})
    if not row.enabled:
        raise Conflict(why=f"{row.name} is switched off.")
    number = request.POST.get("model", "")
    model = reads.model_of(row, int(number) if number.isdecimal() and len(number) < 19 else 0)
    if model.embeds or model.retired:
        raise Invalid(fields={"model": "Choose a chat model on offer."})
    lines = request.headers.get("Accept", "") == LINES
    write = as_lines if lines else as_text
    answer = StreamingHttpResponse(
        write(user, model, text), content_type=LINES if lines else "text/plain; charset=utf-8"
    )
    # Proxies that gather an answer would show it all at once.
    answer.headers["X-Accel-Buffering"] = "no"
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer


async def as_lines(user: User, model: ModelDeployment, text: str) -> AsyncGenerator[bytes, None]:
    """One JSON object a line: ``text`` as it comes, at the end ``said`` and ``ok``."""
    async with aclosing(asking.answer(user, model, text)) as pieces:
        async for piece in pieces:
            shown = {"said": piece.said, "ok": piece.ok} if piece.said else {"text": piece.text}
            yield json.dumps(shown).encode() + b"\n"


async def as_text(user: User, model: ModelDeployment, text: str) -> AsyncGenerator[bytes, None]:
    """The answer, an empty line, and what it took."""
    async with aclosing(asking.answer(user, model, text)) as pieces:
        async for piece in pieces:
            shown = f"\n\n{piece.said}\n" if piece.said else piece.text
            yield shown.encode("utf-8", "replace")
