"""One exchange with a provider: a request goes out, a parsed answer or a fault comes back.

The SDK carries the request; its answer is read as plain JSON, because building its typed models
costs as much CPU again as all the rest of a call and refuses servers that leave fields out.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, TypeVar

import aiohttp
import httpx2
from openai import (
    APIConnectionError,
    APIStatusError,
    AsyncOpenAI,
    AsyncStream,
    Omit,
    OpenAIError,
)
from openai._types import RequestOptions

from providers.addresses import AddressRefused, check_base_url
from providers.clients.causes import connection_fault
from providers.clients.transport import CertificatesUnreadable, guarded_client
from providers.gateway.errors import ErrorClass, Fault, classify_response
from providers.gateway.types import Deployment, WireChat

NOT_COMPATIBLE = "the answer is not one of an OpenAI-compatible server"

IDLE_SECONDS = 20.0
"""A streamed answer that is silent for longer was cut off."""

NO_HEADERS: Mapping[str, str] = MappingProxyType({})

KEY_HEADERS = {"api-key": "api-key", "x-api-key": "x-api-key"}
"""Styles of authentication that send the key as it is, and the header that carries it."""

_WIRE_ERRORS = (OpenAIError, httpx2.HTTPError, httpx2.InvalidURL, aiohttp.ClientError, OSError)
"""What a request may end with; the SDK lets some of its transport's own errors through."""

_NO_KEY: Mapping[str, str | Omit] = {"Authorization": Omit()}

T = TypeVar("T")

_Send = Callable[[AsyncOpenAI, RequestOptions], Awaitable[httpx2.Response]]


def utc_now() -> datetime:
    """The wall clock, needed to read a Retry-After that is a date."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for connecting, for the first byte and for the whole of one exchange."""

    connect: float
    first_byte: float
    total: float

    @classmethod
    def of(cls, deployment: Deployment, wire: WireChat | None = None) -> Limits:
        """The deployment's own, or what a call narrows them to."""
        times = deployment.timeouts
        total = times.total if wire is None or wire.timeout is None else wire.timeout
        first = times.first_byte if wire is None or wire.first_byte is None else wire.first_byte
        return cls(min(times.connect, total), min(first, total), total)

    def options(self, silence: float | None = None) -> RequestOptions:
        """As the SDK takes them; ``silence`` is the longest gap once bytes have begun to come."""
        read = self.first_byte if silence is None else max(self.first_byte, silence)
        timeout = httpx2.Timeout(self.total, connect=self.connect, read=read, pool=self.connect)
        return {"timeout": timeout}


@dataclass(frozen=True, slots=True)
class Reply:
    """A parsed answer (an object or a list) and its headers, looked up without regard to case."""

    body: Any
    headers: Mapping[str, str]

    @property
    def object(self) -> Mapping[str, Any]:
        """The answer where it has to be an object; raises :class:`Fault`."""
        if isinstance(self.body, dict):
            return self.body
        raise Fault(ErrorClass.SERVER, NOT_COMPATIBLE, status=200)


class Wire:
    """The connections of one client: one SDK client per address, key and way to get there.

    ``extra`` are headers that every request carries.
    """

    def __init__(
        self, extra: Mapping[str, str] | None = None, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        self.now = now
        self._extra = dict(extra or {})
        self._open: dict[Any, AsyncOpenAI] = {}

    async def post(
        self, deployment: Deployment, path: str, body: Mapping[str, Any], limits: Limits
    ) -> Reply:
        """Send JSON and read JSON. Raises :class:`Fault`."""
        return await self._exchange(
            deployment,
            limits,
            lambda sdk, options: sdk.post(
                path, cast_to=httpx2.Response, body=body, options=options
            ),
        )

    async def get(self, deployment: Deployment, path: str, limits: Limits) -> Reply:
        """Read JSON from a path below the base URL. Raises :class:`Fault`."""
        return await self._exchange(
            deployment,
            limits,
            lambda sdk, options: sdk.get(path, cast_to=httpx2.Response, options=options),
        )

    async def lines(
        self, deployment: Deployment, path: str, body: Mapping[str, Any], limits: Limits
    ) -> AsyncGenerator[tuple[bytes, Mapping[str, str]], None]:
        """The lines of a streamed answer as they come, each with the answer's headers.

        Raises :class:`Fault`: before the first line as :meth:`post` does, and then when nothing
        comes for :data:`IDLE_SECONDS`, when the connection breaks, or at the end of ``total``.
        """
        clock = asyncio.get_running_loop().time
        end = clock() + limits.total
        response = await self._answering(deployment, path, body, limits)
        chunks = response.aiter_bytes()
        kept = b""
        try:
            while True:
                chunk = await self._next(chunks, min(IDLE_SECONDS, end - clock()))
                if chunk is None:
                    break
                *whole, kept = (kept + chunk).split(b"\n")
                for line in whole:
                    yield line.rstrip(b"\r"), response.headers
            if kept:
                yield kept, response.headers
        finally:
            await response.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        clients = list(self._open.values())
        self._open.clear()
        for client in clients:
            await client.close()

    async def _answering(
        self, deployment: Deployment, path: str, body: Mapping[str, Any], limits: Limits
    ) -> httpx2.Response:
        """The response once its head is there, its body unread."""

        async def send() -> httpx2.Response:
            async with asyncio.timeout(limits.first_byte + limits.connect):
                stream: AsyncStream[Any] = await self._sdk(deployment).post(
                    path,
                    cast_to=object,
                    body=body,
                    options=_with_key(deployment, limits.options(IDLE_SECONDS)),
                    stream=True,
                    stream_cls=AsyncStream[Any],
                )
            return stream.response

        found = await self._guarded(send())
        if isinstance(found, Fault):
            raise found
        return found

    async def _next(self, chunks: AsyncIterator[bytes], seconds: float) -> bytes | None:
        async def more() -> bytes | None:
            async with asyncio.timeout(seconds):
                return await anext(chunks, None)

        found = await self._guarded(more(), "the answer stopped")
        if isinstance(found, Fault):
            raise found
        return found

    async def _exchange(self, deployment: Deployment, limits: Limits, send: _Send) -> Reply:
        async def exchange() -> httpx2.Response:
            options = _with_key(deployment, limits.options())
            async with asyncio.timeout(limits.total):
                return await send(self._sdk(deployment), options)

        # The fault is raised outside the handler, so that no SDK exception, whose text may
        # repeat a key or a foreign page, hangs on to it as context.
        found = await self._guarded(exchange(), "no complete answer in time")
        if isinstance(found, Fault):
            raise found
        parsed = parse_json(found.content)
        if isinstance(parsed, dict | list):
            return Reply(parsed, found.headers)
        raise Fault(ErrorClass.SERVER, NOT_COMPATIBLE, status=found.status_code)

    async def _guarded(self, work: Awaitable[T], late: str = "no answer in time") -> T | Fault:
        """What the work gives, or the fault it ended with."""
        try:
            return await work
        except AddressRefused as error:
            return Fault(ErrorClass.BAD_REQUEST, error.message, sent=False)
        except CertificatesUnreadable:
            return Fault(ErrorClass.BAD_REQUEST, CertificatesUnreadable.TEXT, sent=False)
        except TimeoutError:
            return Fault(ErrorClass.TIMEOUT, late)
        except _WIRE_ERRORS as error:
            return self._fault(error)

    def _sdk(self, deployment: Deployment) -> AsyncOpenAI:
        key = (
            deployment.base_url,
            deployment.api_key,
            deployment.auth,
            deployment.headers,
            deployment.ca_bundle,
            deployment.certificates,
            deployment.proxy,
            deployment.allow_private,
        )
        client = self._open.get(key)
        if client is None:
            client = self._open[key] = open_sdk(deployment, self._extra)
        return client

    def _fault(self, error: Exception) -> Fault:
        if isinstance(error, APIStatusError):
            response = error.response
            return classify_response(
                response.status_code, response.headers, _json_or_none(response), self.now()
            )
        if isinstance(error, OpenAIError) and not isinstance(error, APIConnectionError):
            return Fault(ErrorClass.BAD_REQUEST, "the request could not be built", sent=False)
        return connection_fault(error)


def open_sdk(deployment: Deployment, extra: Mapping[str, str] = NO_HEADERS) -> AsyncOpenAI:
    """An SDK client that neither retries nor follows redirects nor reads the environment.

    Raises :class:`AddressRefused` for a base URL that must not be called.
    """
    base_url = check_base_url(deployment.base_url, allow_private=deployment.allow_private)
    timeout = Limits.of(deployment).options()["timeout"]
    assert isinstance(timeout, httpx2.Timeout)
    headers = {"Accept-Encoding": "identity", **extra, **dict(deployment.headers)}
    own = KEY_HEADERS.get(deployment.auth)
    if own and deployment.api_key:
        headers[own] = deployment.api_key.reveal()
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
            certificates=deployment.certificates,
            proxy=deployment.proxy,
        ),
    )


def parse_json(content: bytes) -> Any:
    """Parsed JSON, ``None`` for anything else; depth is bounded by the parser's recursion."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _with_key(deployment: Deployment, options: RequestOptions) -> RequestOptions:
    """Options by which the SDK sends its bearer key only where that is how it is sent."""
    if not deployment.api_key or deployment.auth in KEY_HEADERS:
        options["headers"] = _NO_KEY
    return options


def _json_or_none(response: httpx2.Response) -> Any:
    try:
        return parse_json(response.content)
    except (httpx2.HTTPError, httpx2.ResponseNotRead):
        return None
