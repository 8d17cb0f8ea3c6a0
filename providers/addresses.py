"""Which addresses a provider may be called at.

A base URL is typed by a person and called by the server, so it must not reach what only the
server can reach: its own loopback, the private network, a cloud's metadata service. The address
is checked when it is entered and again on every new connection, against the very addresses the
connection uses, so that a name that changes its mind in between (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from typing_extensions import override

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

METADATA_HOSTS = frozenset(
    {"metadata", "metadata.google.internal", "metadata.goog", "instance-data"}
)
METADATA_ADDRESSES = frozenset(
    ipaddress.ip_address(text)
    for text in ("100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254")
)
"""Metadata services outside 169.254.0.0/16, which is refused as a whole: Alibaba, Oracle, Azure,
and the IPv6 addresses of AWS and Google (each from the provider's instance metadata manual)."""

NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""IPv6 addresses that carry an IPv4 address in their last four bytes (RFC 6052)."""


LOCAL_PORTS = frozenset({1234, 8000, 8080, 11434})
"""Where model servers on one's own machine listen by default: LM Studio, vLLM, llama.cpp, Ollama
(each from its manual)."""


class AddressRefused(OSError):
    """An address that must not be called. The message may be shown to the person who typed it."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def address_rule(url: str, *, private: bool, local_models: bool) -> bool:
    """The ``allow_private`` by which a base URL is checked and, later, called.

    ``private``: the operator permits private addresses and this provider asks for one.
    ``local_models``: the operator lets owners use model servers on this very machine; that opens
    loopback at the ports of the known ones (Ollama, vLLM, LM Studio, llama.cpp) and nothing else,
    so that other services of this machine stay out of reach. Looks up no name; what is not a web
    address gets no permission. Metadata and link-local addresses are refused either way.

    Use it wherever a base URL is checked or made into a ``Deployment``::

        allow = address_rule(url, private=..., local_models=settings.LOCAL_MODELS)
        check_base_url(url, allow_private=allow)
    """
    return private or (local_models and is_local_model(url))


def is_local_model(url: str) -> bool:
    """Whether a base URL is loopback at the port of a known model server."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    return port in LOCAL_PORTS and (_is_localhost(host) or _is_loopback(host))


def _is_localhost(host: str) -> bool:
    """Names that mean this machine (RFC 6761, section 6.3)."""
    name = host.rstrip(".").lower()
    return name == "localhost" or name.endswith(".localhost")


def _is_loopback(host: str) -> bool:
    try:
        return _inner(ipaddress.ip_address(host.split("%")[0])).is_loopback
    except ValueError:
        return False


def check_base_url(url: str, *, allow_private: bool) -> str:
    """The base URL in normal form, without a slash at the end; looks up no name.

    Raises :class:`AddressRefused`. ``allow_private`` permits loopback and private addresses.
    """
    text = url.strip()
    if any(ord(char) <= 32 or ord(char) == 127 or char == "\\" for char in text):
        raise AddressRefused("The address holds white space or control characters.")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise AddressRefused("This is not a web address.") from None
    if parts.scheme.lower() not in ("http", "https"):
        raise AddressRefused("The address must begin with http:// or https://.")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("The address must not carry a user name or key.")
    if parts.query or parts.fragment:
        raise AddressRefused("The address must end with its path, without ? or #.")
    if not parts.hostname or port == 0:
        raise AddressRefused("The address names no host.")
    check_host(parts.hostname, allow_private=allow_private)
    return f"{parts.scheme.lower()}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def check_host(host: str, *, allow_private: bool) -> None:
    """Refuse a host that is, or is spelled to hide, an address not to be called."""
    name = host.rstrip(".").lower()
    if name in METADATA_HOSTS:
        raise AddressRefused("Addresses of a cloud's metadata service are never called.")
    try:
        address = ipaddress.ip_address(name.split("%")[0])
    except ValueError:
        _check_spelling(name)
        if not allow_private and _is_localhost(name):
            raise AddressRefused(_PRIVATE) from None
        return
    check_address(address, allow_private=allow_private)


def check_address(address: Address, *, allow_private: bool) -> None:
    """Refuse an IP address that must not be called."""
    address = _inner(address)
    if address.is_link_local or address in METADATA_ADDRESSES:
        raise AddressRefused("Link-local and metadata addresses are never called.")
    if address.is_multicast or address.is_unspecified:
        raise AddressRefused("This address is not one of a single machine.")
    if not allow_private and not address.is_global:
        raise AddressRefused(_PRIVATE)


_PRIVATE = (
    "This is an address of this machine or of a private network. "
    "An operator has to allow such addresses first."
)


def _check_spelling(name: str) -> None:
    """Refuse ``127.1``, ``0x7f000001``, ``2130706433``: numbers the C library reads as addresses.

    See inet_aton(3); no host name in use ends in a number (RFC 3696, section 2).
    """
    try:
        socket.inet_aton(name)
    except (OSError, UnicodeEncodeError):
        return
    raise AddressRefused("Write the address with four decimal numbers.")


def _inner(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one, if it carries one; else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in NAT64:
        inner = ipaddress.IPv4Address(address.packed[-4:])
    return inner or address


class GuardedResolver(AbstractResolver):
    """Looks names up for aiohttp and passes on only addresses that may be called.

    The connection is made to what this returns, so nothing can change between check and use.
    """

    def __init__(self, *, allow_private: bool, inner: AbstractResolver | None = None) -> None:
        self._allow_private = allow_private
        self._inner = inner or aiohttp.ThreadedResolver()

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of ``host``; raises :class:`AddressRefused` if one must not be called."""
        check_host(host, allow_private=self._allow_private)
        found = await self._inner.resolve(host, port, family)
        for result in found:
            address = ipaddress.ip_address(result["host"].split("%")[0])
            check_address(address, allow_private=self._allow_private)
            if _is_localhost(host) and not _inner(address).is_loopback:
                raise AddressRefused("localhost must be an address of this machine.")
        return found

    @override
    async def close(self) -> None:
        """Close the resolver underneath."""
        await self._inner.close()
