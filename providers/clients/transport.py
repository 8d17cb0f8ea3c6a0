"""The HTTP transport below the SDK: guarded addresses, no redirects, bounded answers.

The SDK's own aiohttp transport is used; what is added is a connector whose resolver refuses
addresses not to be called, and a limit on what an answer may weigh, packed or unpacked.
"""

from __future__ import annotations

import ssl
import zlib
from collections.abc import AsyncIterator

import aiohttp
import httpx2
from openai._vendor.httpx_aiohttp import AiohttpTransport
from typing_extensions import override

from providers.addresses import GuardedResolver

MAX_ANSWER_BYTES = 4 * 1024 * 1024

_UNPACK = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""zlib window sizes by content encoding (zlib manual, inflateInit2)."""


class AnswerTooLarge(httpx2.ReadError):
    """The server sent more than an answer may weigh."""


class CertificatesUnreadable(ValueError):
    """The certificates that were entered are not certificates in PEM form."""

    TEXT = "the certificates entered for this provider cannot be read"


class BoundedStream(httpx2.AsyncByteStream):
    """Passes an answer on, unpacked, up to ``most`` bytes."""

    def __init__(
        self, inner: httpx2.AsyncByteStream, window: int | None, most: int = MAX_ANSWER_BYTES
    ) -> None:
        self._inner = inner
        self._unpack = zlib.decompressobj(window) if window is not None else None
        self._left = most

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            self._left -= len(chunk)
            data = self._unpacked(chunk) if self._unpack is not None else chunk
            if self._left < 0:
                raise AnswerTooLarge("answer too large")
            yield data

    def _unpacked(self, chunk: bytes) -> bytes:
        assert self._unpack is not None
        try:
            data = self._unpack.decompress(chunk, MAX_ANSWER_BYTES)
        except zlib.error:
            raise httpx2.DecodingError("answer not readable") from None
        self._left -= len(data) + len(self._unpack.unconsumed_tail)
        return data

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()


class GuardedTransport(AiohttpTransport):
    """The SDK's transport with guarded connections and answers of at most ``most`` bytes."""

    most = MAX_ANSWER_BYTES

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        packing = response.headers.get("content-encoding", "").strip().lower()
        window = _UNPACK.get(packing)
        if window is not None:
            del response.headers["content-encoding"]
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = BoundedStream(response.stream, window, self.most)
        return response


def trust(ca_bundle: str = "", certificates: str = "") -> ssl.SSLContext:
    """Whom to trust: the system's authorities, or those of a file, and ``certificates`` (PEM).

    Raises :class:`CertificatesUnreadable`, and ``OSError`` for a file that cannot be read.
    """
    context = ssl.create_default_context(cafile=ca_bundle or None)
    if certificates:
        try:
            context.load_verify_locations(cadata=certificates)
        except (ssl.SSLError, ValueError):
            raise CertificatesUnreadable from None
    return context


def guarded_client(
    *,
    timeout: httpx2.Timeout,
    allow_private: bool,
    ca_bundle: str = "",
    certificates: str = "",
    proxy: str = "",
    most: int = MAX_ANSWER_BYTES,
) -> httpx2.AsyncClient:
    """An HTTP client for one provider, for answers of at most ``most`` bytes; close it explicitly.

    With a proxy it is the proxy that looks names up, so only the proxy's own address is not
    guarded: an operator configured it. Environment variables are not read.
    """
    context = trust(ca_bundle, certificates)

    def session() -> aiohttp.ClientSession:
        guard = None if proxy else GuardedResolver(allow_private=allow_private)
        connector = aiohttp.TCPConnector(
            ssl=context, limit=0, resolver=guard, keepalive_timeout=30, ttl_dns_cache=30
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    transport = GuardedTransport(
        client=session, proxy=httpx2.Proxy(proxy) if proxy else None, verify=context
    )
    transport.most = most
    return httpx2.AsyncClient(
        transport=transport, timeout=timeout, follow_redirects=False, trust_env=False
    )
