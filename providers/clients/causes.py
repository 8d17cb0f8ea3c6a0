"""What exactly went wrong on the wire, told from the chain of exceptions.

The SDK folds every cause into two exceptions, and its aiohttp transport reports a connection
that broke after the request as one that was never made; only aiohttp's own exception, further
down the chain, tells whether the request may have been read (and billed).
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import aiohttp
import httpx2

from providers.addresses import AddressRefused
from providers.clients.transport import AnswerTooLarge
from providers.gateway.errors import ErrorClass, Fault


def connection_fault(error: BaseException) -> Fault:
    """The fault behind an exception of the SDK or its HTTP client."""
    chain = list(_chain(error))
    for cause in chain:
        fault = _proxy(cause)
        if fault is not None:
            return fault
    for cause in chain:
        fault = _known(cause)
        if fault is not None:
            return fault
    if any(isinstance(cause, httpx2.TimeoutException) for cause in chain):
        return Fault(ErrorClass.TIMEOUT, "no answer in time")
    return Fault(ErrorClass.NETWORK, "the connection failed")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and what caused it, outermost first, each behind the system error it wraps."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        inner = getattr(error, "os_error", None)
        if isinstance(inner, BaseException):
            yield inner
        yield error
        error = error.__cause__ or error.__context__


def _proxy(cause: BaseException) -> Fault | None:
    """What went wrong at the proxy: it hides the same causes that a server can have."""
    if isinstance(cause, aiohttp.ClientProxyConnectionError):
        return Fault(ErrorClass.NETWORK, "the proxy could not be reached", sent=False)
    if isinstance(cause, aiohttp.ClientHttpProxyError):
        detail = f"the proxy refused, HTTP {cause.status}"
        if cause.status == 407:
            detail = "the proxy asks for a name and password"
        return Fault(ErrorClass.NETWORK, detail, status=cause.status, sent=False)
    return None


def _known(cause: BaseException) -> Fault | None:
    if isinstance(cause, AddressRefused):
        return Fault(ErrorClass.BAD_REQUEST, cause.message, sent=False)
    if isinstance(cause, AnswerTooLarge):
        return Fault(ErrorClass.SERVER, "the answer is larger than 4 MB")
    for kind, error_class, detail, sent in _CAUSES:
        if isinstance(cause, kind):
            return Fault(error_class, detail, sent=sent)
    return None


_CAUSES: tuple[tuple[type[BaseException], ErrorClass, str, bool], ...] = (
    (
        aiohttp.ClientConnectorCertificateError,
        ErrorClass.NETWORK,
        "the server's certificate is not trusted",
        False,
    ),
    (ssl.SSLCertVerificationError, ErrorClass.NETWORK, "the certificate is not trusted", False),
    (aiohttp.ClientConnectorSSLError, ErrorClass.NETWORK, "TLS could not be agreed on", False),
    (aiohttp.ClientConnectorDNSError, ErrorClass.NETWORK, "the name could not be found", False),
    (ConnectionRefusedError, ErrorClass.NETWORK, "the connection was refused", False),
    (aiohttp.ConnectionTimeoutError, ErrorClass.TIMEOUT, "no connection in time", False),
    (aiohttp.ClientConnectorError, ErrorClass.NETWORK, "no connection could be made", False),
    (aiohttp.SocketTimeoutError, ErrorClass.TIMEOUT, "no answer in time", True),
    (aiohttp.ServerDisconnectedError, ErrorClass.NETWORK, "the connection was dropped", True),
    (aiohttp.ClientPayloadError, ErrorClass.NETWORK, "the answer broke off", True),
    (ConnectionResetError, ErrorClass.NETWORK, "the connection was dropped", True),
    (aiohttp.ClientOSError, ErrorClass.NETWORK, "the connection was dropped", True),
    (aiohttp.InvalidURL, ErrorClass.BAD_REQUEST, "the address is not valid", False),
    (aiohttp.ClientResponseError, ErrorClass.SERVER, "the answer is not HTTP", True),
    (httpx2.DecodingError, ErrorClass.SERVER, "the answer could not be unpacked", True),
)
"""First match wins, so narrower exceptions stand above those they inherit from."""
