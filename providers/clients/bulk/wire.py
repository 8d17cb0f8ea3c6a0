"""HTTP below the batch endpoints: guarded addresses, bounded answers, results line by line."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import aiohttp
import httpx2

from providers.addresses import check_base_url
from providers.clients.causes import connection_fault
from providers.clients.openai_compatible import utc_now
from providers.clients.transport import CertificatesUnreadable, guarded_client
from providers.gateway.errors import ErrorClass, Fault, classify_response
from providers.gateway.types import Deployment

MOST_RESULT_BYTES = 512 * 1024 * 1024
"""The most that is read of one file of results."""

MOST_LINE_BYTES = 4 * 1024 * 1024
"""The most that one line of it may weigh, as any answer."""

MOST_SAID_BYTES = 1024 * 1024
"""The most that is read of an answer that describes something."""

_NUMBER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,119}")

_WIRE_ERRORS = (
    httpx2.HTTPError,
    httpx2.InvalidURL,
    aiohttp.ClientError,
    OSError,
    CertificatesUnreadable,
)

Headers = Mapping[str, str]


def number_of(value: Any) -> str:
    """A provider's name for a batch or a file, fit to stand in an address.

    Raises :class:`Fault` for anything else, so that no answer chooses where we ask next.
    """
    if isinstance(value, str) and _NUMBER.fullmatch(value) and ".." not in value:
        return value
    raise Fault(ErrorClass.SERVER, "the server named a batch in a way that cannot be used")


class Wire:
    """Requests of one sort of provider; ``extra`` are headers that all of them carry."""

    def __init__(
        self, extra: Headers | None = None, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        self.now = now
        self._extra = dict(extra or {})
        self._open: dict[Any, httpx2.AsyncClient] = {}

    async def get(self, deployment: Deployment, path: str, **query: str) -> Mapping[str, Any]:
        """A description. Raises :class:`Fault`."""
        return await self._said(deployment, "GET", path, params=query)

    async def post(
        self, deployment: Deployment, path: str, body: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        """Ask for something. Raises :class:`Fault`."""
        content = json.dumps(body or {}).encode()
        return await self.send(deployment, path, [content], "application/json")

    async def send(
        self, deployment: Deployment, path: str, parts: Sequence[bytes], content_type: str
    ) -> Mapping[str, Any]:
        """Post a body piece by piece. Raises :class:`Fault`."""
        headers = {
            "Content-Type": content_type,
            "Content-Length": str(sum(len(part) for part in parts)),
        }
        return await self._said(deployment, "POST", path, parts=parts, headers=headers)

    async def upload(self, deployment: Deployment, lines: Sequence[bytes]) -> str:
        """Store lines as a file for batches (``POST /files``); gives back its name there."""
        mark = f"openclio-{secrets.token_hex(12)}"
        head = (
            f'--{mark}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="batch.jsonl"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        ).encode()
        parts = [head, *(line + b"\n" for line in lines), f"\r\n--{mark}--\r\n".encode()]
        kind = f"multipart/form-data; boundary={mark}"
        return number_of((await self.send(deployment, "/files", parts, kind)).get("id"))

    async def lines(self, deployment: Deployment, path: str) -> AsyncIterator[Mapping[str, Any]]:
        """The objects of a file of lines, one by one; what is no object is left out.

        Raises :class:`Fault`, also midway.
        """
        try:
            async with self._http(deployment).stream(
                "GET", _url(deployment, path), headers=self._headers(deployment)
            ) as response:
                if response.status_code != 200:
                    raise await self._refused(response)
                async for line in _split(response.aiter_bytes()):
                    yield line
            return
        except _WIRE_ERRORS as error:
            fault = _fault(error)
        raise fault

    async def aclose(self) -> None:
        """Close every connection."""
        clients = list(self._open.values())
        self._open.clear()
        for client in clients:
            await client.aclose()

    async def _said(
        self,
        deployment: Deployment,
        method: str,
        path: str,
        *,
        parts: Sequence[bytes] = (),
        headers: Headers | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Mapping[str, Any]:
        """The object that a request is answered with; the spare key is tried if the first fails."""
        try:
            return await self._once(deployment, method, path, parts, headers, params)
        except Fault as fault:
            if fault.error_class is not ErrorClass.AUTH or not deployment.spare_key:
                raise
        other = replace(deployment, api_key=deployment.spare_key)
        return await self._once(other, method, path, parts, headers, params)

    async def _once(
        self,
        deployment: Deployment,
        method: str,
        path: str,
        parts: Sequence[bytes],
        headers: Headers | None,
        params: Mapping[str, str] | None,
    ) -> Mapping[str, Any]:
        try:
            async with self._http(deployment).stream(
                method,
                _url(deployment, path),
                content=_pieces(parts) if parts else None,
                headers={**self._headers(deployment), **(headers or {})},
                params=params or None,
            ) as response:
                if response.status_code not in (200, 201, 202):
                    raise await self._refused(response)
                said = _object(await _all(response))
        except _WIRE_ERRORS as error:
            fault = _fault(error)
        else:
            if said is not None:
                return said
            fault = Fault(ErrorClass.SERVER, "the answer is not one of a batch API")
        raise fault

    async def _refused(self, response: httpx2.Response) -> Fault:
        body = _object(await _all(response))
        return classify_response(response.status_code, response.headers, body, self.now())

    def _headers(self, deployment: Deployment) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity", **self._extra, **dict(deployment.headers)}
        key = deployment.api_key.reveal()
        if key and deployment.auth == "bearer":
            headers["Authorization"] = f"Bearer {key}"
        elif key:
            headers[deployment.auth] = key
        return headers

    def _http(self, deployment: Deployment) -> httpx2.AsyncClient:
        base_url = check_base_url(deployment.base_url, allow_private=deployment.allow_private)
        times = deployment.timeouts
        key = (
            base_url,
            deployment.ca_bundle,
            deployment.certificates,
            deployment.proxy,
            deployment.allow_private,
            times,
        )
        client = self._open.get(key)
        if client is None:
            client = self._open[key] = guarded_client(
                timeout=httpx2.Timeout(
                    times.total, connect=times.connect, read=max(60.0, times.first_byte)
                ),
                allow_private=deployment.allow_private,
                ca_bundle=deployment.ca_bundle,
                certificates=deployment.certificates,
                proxy=deployment.proxy,
                most=MOST_RESULT_BYTES,
            )
        return client


def _fault(error: BaseException) -> Fault:
    if isinstance(error, CertificatesUnreadable):
        return Fault(ErrorClass.BAD_REQUEST, CertificatesUnreadable.TEXT, sent=False)
    return connection_fault(error)


def _url(deployment: Deployment, path: str) -> str:
    return deployment.base_url.rstrip("/") + path


async def _pieces(parts: Sequence[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def _all(response: httpx2.Response) -> bytes:
    """The whole of a short answer."""
    found = bytearray()
    async for chunk in response.aiter_bytes():
        found += chunk
        if len(found) > MOST_SAID_BYTES:
            raise Fault(ErrorClass.SERVER, "the answer is far too large")
    return bytes(found)


async def _split(chunks: AsyncIterator[bytes]) -> AsyncIterator[Mapping[str, Any]]:
    """The objects in a stream of JSON lines."""
    rest = bytearray()
    async for chunk in chunks:
        rest += chunk
        *whole, last = rest.split(b"\n")
        if len(last) > MOST_LINE_BYTES:
            raise Fault(ErrorClass.SERVER, "a line of the results is far too large")
        rest = last
        for line in whole:
            said = _object(line)
            if said is not None:
                yield said
    said = _object(rest)
    if said is not None:
        yield said


def _object(content: bytes | bytearray) -> Mapping[str, Any] | None:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
