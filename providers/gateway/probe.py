"""Trying a provider out: does it answer, what does it take, and if not, why exactly."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeVar

from providers.gateway.capabilities import Capabilities
from providers.gateway.catalogue import ModelInfo
from providers.gateway.embedding import unit_rows
from providers.gateway.errors import ErrorClass, Fault
from providers.gateway.types import ChatCall, ChatMessage, Client, Deployment, WireChat

PROBE_SECONDS = 30.0
"""Longest a probe waits for one answer."""

EXTRA_SECONDS = 15.0
"""Longest it waits for what only adds to the report, once the model has answered."""

T = TypeVar("T")

State = Literal["yes", "no", "unknown", "failed"]

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
_TOOL_CALL = replace(
    _CALL, messages=(ChatMessage("user", "Call the tool confirm with ok set to true."),)
)
_STREAM_CALL = replace(
    _CALL, messages=(ChatMessage("user", "Count from one to five in words."),), max_tokens=60
)


class Prober(Client, Protocol):
    """A client that can also be asked what its server offers. Raises :class:`Fault` alone."""

    async def models(self, deployment: Deployment) -> list[ModelInfo]:
        """The models on offer, by name; costs no tokens."""
        ...

    async def takes_tools(self, deployment: Deployment, wire: WireChat) -> bool:
        """Whether the model calls a tool; ``wire`` asks it to, in the form the server takes."""
        ...


@dataclass(frozen=True, slots=True)
class ProbeLine:
    """One thing that was tried: ``yes``, ``no``, ``unknown`` or ``failed``, and a sentence."""

    name: str
    state: State
    text: str


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a trial call showed.

    ``text`` is one sentence or two for the person who pressed the button and ``lines`` say the
    same for each capability; both repeat nothing the server sent. ``json_schema``, ``tools`` and
    ``streaming`` are ``None`` where they were not tried or nothing could be learned,
    ``context_tokens`` where the server does not tell it, ``dimensions`` 0 where no embeddings were.
    """

    ok: bool
    text: str
    latency_ms: int = 0
    chat: bool = False
    json_schema: bool | None = None
    dimensions: int = 0
    error_class: ErrorClass | None = None
    tools: bool | None = None
    streaming: bool | None = None
    context_tokens: int | None = None
    lines: tuple[ProbeLine, ...] = ()


async def probe(client: Prober, target: Deployment) -> ProbeReport:
    """Try a chat and an embedding model, as far as they are set, and what they can do.

    A chat call, a tool call, a short stream and one embedding; each costs a few tokens. Never
    raises for anything the server does.
    """
    target = _bounded(target, PROBE_SECONDS)
    report = ProbeReport(ok=True, text="")
    if target.model:
        report = await _try_chat(client, target, report)
    if target.embedding_model and report.ok:
        report = await _try_embeddings(client, target, report)
    return replace(report, text=report.text or _praise(report))


def _bounded(target: Deployment, seconds: float) -> Deployment:
    times = target.timeouts
    bounded = replace(
        times, first_byte=min(seconds, times.first_byte), total=min(seconds, times.total)
    )
    return replace(target, timeouts=bounded)


async def _try_chat(client: Prober, target: Deployment, report: ProbeReport) -> ProbeReport:
    known = Capabilities(schema=None)
    started = time.perf_counter()
    try:
        await _chat(client, target, known)
    except Fault as fault:
        listed = await _listed(client, target) if fault.status == 404 else None
        return _failure(report, "Chat", explain(fault, target, "chat", listed), fault)
    latency = int(1000 * (time.perf_counter() - started))
    schema = known.schema is not False
    quick = _bounded(target, EXTRA_SECONDS)
    tools, streaming, listed = await asyncio.gather(
        _tools(client, quick, known), _streams(client, quick, known), _listed(client, quick)
    )
    own = next((one for one in listed or () if one.id == target.model), None)
    context = own.context_tokens if own else None
    return replace(
        report,
        chat=True,
        latency_ms=latency,
        json_schema=schema,
        tools=tools,
        streaming=streaming,
        context_tokens=context,
        lines=(
            ProbeLine("Chat", "yes", f"Answered in {latency} ms."),
            _line("JSON schema", schema, "Takes one.", "Takes none; is asked in text instead."),
            _line("Tools", tools, "Calls them.", "Does not call them."),
            _line("Streaming", streaming, "Answers bit by bit.", "Answers in one piece."),
            ProbeLine(
                "Context",
                "yes" if context else "unknown",
                f"{context:,} tokens." if context else "The server does not say.",
            ),
        ),
    )


async def _try_embeddings(client: Prober, target: Deployment, report: ProbeReport) -> ProbeReport:
    try:
        dimensions = await _embed(client, target)
    except Fault as fault:
        return _failure(report, "Embeddings", explain(fault, target, "embeddings"), fault)
    line = ProbeLine("Embeddings", "yes", f"{dimensions:,} dimensions.")
    return replace(report, dimensions=dimensions, lines=(*report.lines, line))


def _failure(report: ProbeReport, name: str, text: str, fault: Fault) -> ProbeReport:
    line = ProbeLine(name, "failed", text)
    lines = (*report.lines, line)
    return replace(report, ok=False, text=text, error_class=fault.error_class, lines=lines)


def _line(name: str, able: bool | None, yes: str, no: str) -> ProbeLine:
    if able is None:
        return ProbeLine(name, "unknown", "Could not be tried.")
    return ProbeLine(name, "yes", yes) if able else ProbeLine(name, "no", no)


async def _within(target: Deployment, work: Awaitable[T]) -> T:
    """The work within the target's whole limit; raises :class:`Fault`."""
    try:
        async with asyncio.timeout(target.timeouts.total):
            return await work
    except TimeoutError:
        raise Fault(ErrorClass.TIMEOUT, "no complete answer in time") from None


async def _chat(client: Client, target: Deployment, known: Capabilities) -> None:
    """One answer, in whatever form the server takes; raises :class:`Fault` when there is none."""
    schema_text = json.dumps(_SCHEMA)
    for _ in range(4):
        wire = known.wire(_CALL, schema_text, PROBE_SECONDS)
        try:
            await _within(target, client.chat(target, wire))
        except Fault as fault:
            if not known.learn(fault, wire):
                raise
        else:
            return
    raise Fault(ErrorClass.BAD_REQUEST, "every form of the request was refused")


async def _tools(client: Prober, target: Deployment, known: Capabilities) -> bool | None:
    """Whether the model calls a tool; ``None`` when that could not be learned."""
    try:
        return await _within(target, client.takes_tools(target, _plain(_TOOL_CALL, known)))
    except Fault as fault:
        refused = fault.error_class in (ErrorClass.BAD_REQUEST, ErrorClass.NOT_FOUND)
        return False if refused else None


async def _streams(client: Client, target: Deployment, known: Capabilities) -> bool | None:
    """Whether an answer comes in more than one piece; ``None`` when that could not be learned."""

    async def count() -> int:
        stream = client.stream(target, _plain(_STREAM_CALL, known))
        try:
            return sum([bool(piece.text) async for piece in stream])
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()

    try:
        return await _within(target, count()) > 1
    except Fault as fault:
        return False if fault.error_class is ErrorClass.BAD_REQUEST else None


def _plain(call: ChatCall, known: Capabilities) -> WireChat:
    """A call without a schema, otherwise in the form the server takes."""
    return replace(known.wire(call, "", EXTRA_SECONDS), messages=call.messages, schema=None)


async def _listed(client: Prober, target: Deployment) -> list[ModelInfo] | None:
    """The models on offer, ``None`` when the server does not list them."""
    try:
        return await _within(target, client.models(target))
    except Fault:
        return None


async def _embed(client: Client, target: Deployment) -> int:
    work = client.embed(target, ["trial"], base64=False, timeout=target.timeouts.total)
    reply = await _within(target, work)
    return int(unit_rows(reply.vectors, 1).shape[1])


def explain(
    fault: Fault,
    target: Deployment,
    stage: Literal["chat", "embeddings"] = "chat",
    listed: list[ModelInfo] | None = None,
) -> str:
    """What went wrong and what to do about it, in words for the page.

    ``listed`` are the models the server offers, where that is known.
    """
    model = (target.model if stage == "chat" else target.embedding_model)[:120]
    path = _PATHS.get((target.kind, stage)) or _PATHS["openai", stage]
    cause = fault.detail[:1].upper() + fault.detail[1:]
    advice = _ADVICE.get(fault.error_class, "")
    if "certificate" in fault.detail:
        advice = _TRUST_ADVICE
    elif "proxy" in fault.detail:
        advice = _PROXY_ADVICE
    elif fault.status == 404 and target.auth == "api-key":
        advice = _AZURE_ADVICE
    elif fault.status == 404 and listed and model not in {one.id for one in listed}:
        advice = _MODEL_ADVICE.format(model=model, count=len(listed))
    elif fault.error_class is ErrorClass.SERVER and (fault.status or 0) >= 500:
        advice = "The provider has a fault of its own. Try again later."
    elif fault.status == 404 or fault.error_class is ErrorClass.SERVER:
        advice = _ADDRESS_ADVICE
    advice = advice.replace("{model}", model).replace("{path}", path)
    return f"{cause.rstrip('.')}. {advice}".strip()


_PATHS: Mapping[tuple[str, str], str] = {
    ("openai", "chat"): "/chat/completions",
    ("openai", "embeddings"): "/embeddings",
    ("anthropic", "chat"): "/messages",
}
_ADDRESS_ADVICE = (
    "Check that the base URL is the part before {path}, usually ending in /v1, "
    "and that the server knows the model {model}."
)
_MODEL_ADVICE = (
    "The server answers, but {model} is not in its list of models ({count}). Choose one from it."
)
_AZURE_ADVICE = (
    "The model must be the name that you gave the deployment in Azure, here {model}. "
    "Check it and the resource in the base URL."
)
_TRUST_ADVICE = (
    "If the server's certificate was made by your own organization, enter that organization's "
    "certificate with the provider."
)
_PROXY_ADVICE = "Check the proxy's address, name and password."
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
