"""Any server that speaks OpenAI's ``/chat/completions`` and ``/embeddings``.

The SDK carries the request; its answer is read as plain JSON, because building its typed models
costs as much CPU again as all the rest of a call and refuses servers that leave fields out.
"""

from __future__ import annotations

import base64 as b64
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import aiohttp
import httpx2
import numpy as np
from openai import (
    APIConnectionError,
    APIStatusError,
    AsyncOpenAI,
    Omit,
    OpenAIError,
)
from openai._types import RequestOptions

from providers.addresses import AddressRefused, check_base_url
from providers.clients.causes import connection_fault
from providers.clients.transport import guarded_client
from providers.gateway.errors import ErrorClass, Fault, classify_response
from providers.gateway.types import Deployment, Matrix, WireAnswer, WireChat, WireVectors

NOT_COMPATIBLE = "the answer is not one of an OpenAI-compatible server"


_WIRE_ERRORS = (OpenAIError, httpx2.HTTPError, httpx2.InvalidURL, aiohttp.ClientError, OSError)
"""What a request may end with; the SDK lets some of its transport's own errors through."""

KEPT_AS = "openclio"
"""The metadata key under which a stored completion carries our name for it."""

NOT_KEPT = frozenset({400, 404, 405, 501})
"""What servers without stored completions answer when they are asked for one."""

_Send = Callable[[AsyncOpenAI, RequestOptions], Awaitable[httpx2.Response]]

_OPTIONS: RequestOptions = {}
_NO_KEY: RequestOptions = {"headers": {"Authorization": Omit()}}


def utc_now() -> datetime:
    """The wall clock, needed to read a Retry-After that is a date."""
    return datetime.now(UTC)


class OpenAICompatibleClient:
    """Implements :class:`providers.gateway.types.Client`; one SDK client per address and key."""

    def __init__(self, *, now: Callable[[], datetime] = utc_now) -> None:
        self._now = now
        self._open: dict[Any, AsyncOpenAI] = {}

    async def chat(self, deployment: Deployment, wire: WireChat) -> WireAnswer:
        """Send one chat completion. Raises :class:`Fault`."""
        body = await self._post(deployment, "/chat/completions", chat_body(deployment.model, wire))
        return read_chat(body, self._now())

    async def embed(
        self, deployment: Deployment, texts: Sequence[str], *, base64: bool, timeout: float
    ) -> WireVectors:
        """Send one batch of texts. Raises :class:`Fault`."""
        request = {
            "model": deployment.embedding_model or deployment.model,
            "input": [encodable(text) for text in texts],
            "encoding_format": "base64" if base64 else "float",
        }
        return read_vectors(await self._post(deployment, "/embeddings", request), len(texts))

    async def find(self, deployment: Deployment, name: str) -> WireAnswer | None:
        """The stored completion with our name in its metadata, ``None`` when there is none.

        OpenAI's API reference, "List Chat Completions". Servers without it answer 4xx, which is
        the same as having nothing. Raises :class:`Fault` when the server could not be asked.
        """
        path = f"/chat/completions?{urlencode({f'metadata[{KEPT_AS}]': name, 'limit': 1})}"
        try:
            listed = await self._get(deployment, path)
        except Fault as fault:
            if fault.status is not None and fault.status in NOT_KEPT:
                return None
            raise
        return read_kept(listed, name, self._now())

    async def aclose(self) -> None:
        """Close every connection."""
        clients = list(self._open.values())
        self._open.clear()
        for client in clients:
            await client.close()

    async def _post(
        self, deployment: Deployment, path: str, body: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        return await self._exchange(
            deployment,
            lambda sdk, options: sdk.post(
                path, cast_to=httpx2.Response, body=body, options=options
            ),
        )

    async def _get(self, deployment: Deployment, path: str) -> Mapping[str, Any]:
        return await self._exchange(
            deployment,
            lambda sdk, options: sdk.get(path, cast_to=httpx2.Response, options=options),
        )

    async def _exchange(self, deployment: Deployment, send: _Send) -> Mapping[str, Any]:
        # The fault is raised outside the handler, so that no SDK exception, whose text may
        # repeat a key or a foreign page, hangs on to it as context.
        try:
            options = _OPTIONS if deployment.api_key else _NO_KEY
            response = await send(self._sdk(deployment), options)
            parsed = _json(response.content)
        except AddressRefused as error:
            fault = Fault(ErrorClass.BAD_REQUEST, error.message, sent=False)
        except _WIRE_ERRORS as error:
            fault = self._fault(error)
        else:
            if isinstance(parsed, dict):
                return parsed
            fault = Fault(ErrorClass.SERVER, NOT_COMPATIBLE, status=response.status_code)
        raise fault

    def _sdk(self, deployment: Deployment) -> AsyncOpenAI:
        key = (
            deployment.base_url,
            deployment.api_key,
            deployment.headers,
            deployment.ca_bundle,
            deployment.proxy,
            deployment.allow_private,
            deployment.timeouts,
        )
        client = self._open.get(key)
        if client is None:
            client = self._open[key] = open_sdk(deployment)
        return client

    def _fault(self, error: Exception) -> Fault:
        if isinstance(error, APIStatusError):
            response = error.response
            return classify_response(
                response.status_code, response.headers, _json_or_none(response), self._now()
            )
        if isinstance(error, OpenAIError) and not isinstance(error, APIConnectionError):
            return Fault(ErrorClass.BAD_REQUEST, "the request could not be built", sent=False)
        return connection_fault(error)


def open_sdk(deployment: Deployment) -> AsyncOpenAI:
    """An SDK client that neither retries nor follows redirects nor reads the environment.

    Raises :class:`AddressRefused` for a base URL that must not be called.
    """
    base_url = check_base_url(deployment.base_url, allow_private=deployment.allow_private)
    times = deployment.timeouts
    timeout = httpx2.Timeout(times.total, connect=times.connect, read=times.first_byte)
    headers = {"Accept-Encoding": "identity", **dict(deployment.headers)}
    return AsyncOpenAI(
        api_key=deployment.api_key.reveal() or "none",
        base_url=base_url,
        organization="",
        project="",
        default_headers=headers,
        max_retries=0,
        timeout=timeout,
        http_client=guarded_client(
            timeout=timeout,
            allow_private=deployment.allow_private,
            ca_bundle=deployment.ca_bundle,
            proxy=deployment.proxy,
        ),
    )


def chat_body(model: str, wire: WireChat) -> dict[str, Any]:
    """The request as OpenAI's API reference describes "Create chat completion"."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": message.role, "content": encodable(message.content)}
            for message in wire.messages
        ],
        wire.token_field: wire.max_tokens,
    }
    if wire.temperature is not None:
        body["temperature"] = wire.temperature
    if wire.keep_as:
        body["store"] = True
        body["metadata"] = {KEPT_AS: wire.keep_as}
    if wire.schema is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {
                "name": wire.purpose or "answer",
                "schema": wire.schema,
                "strict": False,
            },
        }
    return body


def encodable(text: str) -> str:
    """The text with halves of surrogate pairs, which no encoding can carry, as question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def read_chat(body: Mapping[str, Any], now: datetime) -> WireAnswer:
    """The first choice of an answer. Raises :class:`Fault` when there is none.

    Some routers answer 200 with an ``error`` object; its code stands for the status.
    """
    error = body.get("error")
    if error:
        code = error.get("code") if isinstance(error, Mapping) else None
        status = code if isinstance(code, int) and 400 <= code < 600 else 500
        raise classify_response(status, {}, body, now)
    try:
        choice = body["choices"][0]
        message = choice["message"]
        text = _text(message.get("content"))
    except (KeyError, IndexError, TypeError, AttributeError):
        raise Fault(ErrorClass.SERVER, NOT_COMPATIBLE) from None
    finish = choice.get("finish_reason")
    if finish == "content_filter" or (not text and message.get("refusal")):
        raise Fault(ErrorClass.CONTENT_FILTER, "the answer was withheld")
    usage = body.get("usage")
    usage = usage if isinstance(usage, Mapping) else {}
    details = usage.get("prompt_tokens_details")
    return WireAnswer(
        text=text,
        finish_reason=finish if isinstance(finish, str) else "stop",
        tokens_in=_count(usage.get("prompt_tokens")),
        tokens_out=_count(usage.get("completion_tokens")),
        tokens_cached=_count(details.get("cached_tokens")) if isinstance(details, Mapping) else 0,
        model=str(body.get("model") or ""),
    )


def read_kept(body: Mapping[str, Any], name: str, now: datetime) -> WireAnswer | None:
    """The first stored completion of a list; one that carries another name is not ours."""
    data = body.get("data")
    first = data[0] if isinstance(data, list) and data else None
    if not isinstance(first, Mapping):
        return None
    metadata = first.get("metadata")
    if not isinstance(metadata, Mapping) or metadata.get(KEPT_AS) != name:
        return None
    return read_chat(first, now)


def read_vectors(body: Mapping[str, Any], count: int) -> WireVectors:
    """Vectors by their index, numbers or base64 of little-endian floats."""
    try:
        items = sorted(body["data"], key=lambda item: item.get("index", 0))
        if len(items) != count:
            raise Fault(ErrorClass.BAD_ANSWER, "the vectors do not match the texts")
        vectors: Matrix = np.vstack([_vector(item["embedding"]) for item in items])
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        raise Fault(ErrorClass.SERVER, NOT_COMPATIBLE) from None
    usage = body.get("usage")
    tokens = _count(usage.get("prompt_tokens")) if isinstance(usage, Mapping) else 0
    return WireVectors(vectors, tokens)


def _vector(value: Any) -> Matrix:
    if isinstance(value, str):
        return np.frombuffer(b64.b64decode(value, validate=True), dtype="<f4").astype(np.float32)
    return np.asarray(value, dtype=np.float32).reshape(-1)


def _text(content: Any) -> str:
    """A message's text: a string, nothing, or a list of parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0


def _json(content: bytes) -> Any:
    """Parsed JSON, ``None`` for anything else; depth is bounded by the parser's recursion."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _json_or_none(response: httpx2.Response) -> Any:
    try:
        return _json(response.content)
    except httpx2.HTTPError:
        return None
    except httpx2.ResponseNotRead:
        return None
