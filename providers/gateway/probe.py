"""Trying a provider out: does it answer, what does it take, and if not, why exactly."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from providers.gateway.capabilities import Capabilities
from providers.gateway.embedding import unit_rows
from providers.gateway.errors import ErrorClass, Fault
from providers.gateway.types import ChatCall, ChatMessage, Client, Deployment

PROBE_SECONDS = 30.0
"""Longest a probe waits for one answer."""

_SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}
_CALL = ChatCall(
    purpose="probe",
    messages=(ChatMessage("user", 'Answer with the JSON object {"ok": true} and nothing else.'),),
    schema=_SCHEMA,
    prompt_version="probe-1",
    max_tokens=200,
)


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a trial call showed.

    ``text`` is one sentence or two for the person who pressed the button; it repeats nothing the
    server sent. ``json_schema`` is ``None`` where no chat was tried, ``dimensions`` 0 where no
    embeddings were.
    """

    ok: bool
    text: str
    latency_ms: int = 0
    chat: bool = False
    json_schema: bool | None = None
    dimensions: int = 0
    error_class: ErrorClass | None = None


async def probe(client: Client, target: Deployment) -> ProbeReport:
    """Make one small chat call, and one embeddings call if an embedding model is set.

    Each costs a few tokens. Never raises for anything the server does.
    """
    target = replace(
        target,
        timeouts=replace(
            target.timeouts,
            first_byte=min(PROBE_SECONDS, target.timeouts.first_byte),
            total=min(PROBE_SECONDS, target.timeouts.total),
        ),
    )
    report = ProbeReport(ok=True, text="")
    started = time.perf_counter()
    stage = "chat"
    try:
        if target.model:
            report = replace(report, chat=True, json_schema=await _chat(client, target))
        latency = int(1000 * (time.perf_counter() - started))
        report = replace(report, latency_ms=latency)
        stage = "embeddings"
        if target.embedding_model:
            report = replace(report, dimensions=await _embed(client, target))
    except Fault as fault:
        text = explain(fault, target, stage)
        return replace(report, ok=False, text=text, error_class=fault.error_class)
    return replace(report, text=_praise(report))


async def _chat(client: Client, target: Deployment) -> bool:
    """Whether the server takes a JSON schema; raises :class:`Fault` when it does not answer."""
    known = Capabilities(schema=None)
    schema_text = json.dumps(_SCHEMA)
    for _ in range(4):
        wire = known.wire(_CALL, schema_text, PROBE_SECONDS)
        try:
            async with asyncio.timeout(target.timeouts.total):
                await client.chat(target, wire)
        except TimeoutError:
            raise Fault(ErrorClass.TIMEOUT, "no complete answer in time") from None
        except Fault as fault:
            if not known.learn(fault, wire):
                raise
        else:
            return known.schema is not False
    raise Fault(ErrorClass.BAD_REQUEST, "every form of the request was refused")


async def _embed(client: Client, target: Deployment) -> int:
    try:
        async with asyncio.timeout(target.timeouts.total):
            reply = await client.embed(target, ["trial"], base64=False, timeout=PROBE_SECONDS)
    except TimeoutError:
        raise Fault(ErrorClass.TIMEOUT, "no complete answer in time") from None
    return int(unit_rows(reply.vectors, 1).shape[1])


def explain(fault: Fault, target: Deployment, stage: str = "chat") -> str:
    """What went wrong and what to do about it, in words for the page."""
    model = target.model if stage == "chat" else target.embedding_model
    path = "/chat/completions" if stage == "chat" else "/embeddings"
    cause = fault.detail[:1].upper() + fault.detail[1:]
    advice = _ADVICE.get(fault.error_class, "").format(model=model[:120], path=path)
    if fault.status == 404 or fault.error_class is ErrorClass.SERVER:
        advice = _ADDRESS_ADVICE.format(model=model[:120], path=path)
    if fault.error_class is ErrorClass.SERVER and (fault.status or 0) >= 500:
        advice = "The provider has a fault of its own. Try again later."
    return f"{cause.rstrip('.')}. {advice}".strip()


_ADDRESS_ADVICE = (
    "Check that the base URL is the part before {path}, usually ending in /v1, "
    "and that the server knows the model {model}."
)
_ADVICE: Mapping[ErrorClass, str] = {
    ErrorClass.NETWORK: "Check the address and port, and that the server is running.",
    ErrorClass.TIMEOUT: "Check the address, or allow more time if the model is slow.",
    ErrorClass.RATE_LIMIT: "The key works, but its rate limit is reached. Try again in a minute.",
    ErrorClass.QUOTA: "The key's account has no quota or credit left. Top it up at the provider.",
    ErrorClass.AUTH: "The provider refused the API key. Enter it again.",
    ErrorClass.PERMISSION: "The API key is not allowed to use the model {model}.",
    ErrorClass.NOT_FOUND: _ADDRESS_ADVICE,
    ErrorClass.CONTENT_FILTER: "The provider's content filter refused the trial text.",
    ErrorClass.BAD_ANSWER: "The server answers, but not with usable vectors.",
}


def _praise(report: ProbeReport) -> str:
    parts = []
    if report.chat:
        form = "takes a JSON schema" if report.json_schema else "answers in text, without a schema"
        parts.append(f"Answered in {report.latency_ms} ms and {form}.")
    if report.dimensions:
        parts.append(f"Embeddings have {report.dimensions} dimensions.")
    return " ".join(parts) or "No model is set, so nothing was tried."
