"""What an owner enters about a provider, and the checks that need no database."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from urllib.parse import urlsplit

from cryptography import x509

from core.errors import Invalid
from providers.addresses import AddressRefused, check_host
from providers.models import ProviderKind

MOST_MODELS = 200
"""Models that one provider may offer."""

MOST_HEADERS = 20
HEADER_LENGTH = 4_000
CERTIFICATES_LENGTH = 200_000
"""Characters of PEM: about a hundred certificates."""

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
"""A header's name (RFC 9110, 5.6.2)."""

OURS = frozenset(
    {
        "authorization",
        "api-key",
        "x-api-key",
        "x-goog-api-key",
        "proxy-authorization",
        "cookie",
        "host",
        "content-length",
        "content-type",
        "content-encoding",
        "accept-encoding",
        "connection",
        "transfer-encoding",
        "te",
        "upgrade",
        "expect",
    }
)
"""Headers that the key's field or the connection itself decides on."""


@dataclass(frozen=True, kw_only=True)
class ModelInput:
    """One model a provider offers.

    Prices are US dollars per million tokens, ``None`` for unknown (the public list is then asked);
    ``price_out`` and ``price_cached`` count for chat alone. ``context_tokens`` and ``dimensions``
    are ``None`` until known.
    """

    model: str
    embeds: bool = False
    price_in: Decimal | None = None
    price_out: Decimal | None = None
    price_cached: Decimal | None = None
    context_tokens: int | None = None
    dimensions: int | None = None
    offers_batches: bool = False


@dataclass(frozen=True, kw_only=True)
class ProviderInput:
    """What an owner enters.

    ``chat_model`` and ``embedding_model`` are offered first, with the three prices beside them,
    then ``models``; one that stands in both is taken from ``models``. Whatever is named nowhere
    is no longer offered. Timeouts are seconds, prices US dollars per million tokens, ``None`` for
    unknown.

    Secrets are write-only: ``None`` keeps what is stored and an empty string removes it, for
    ``key``, for ``proxy``, for ``ca_certificates`` (PEM, no secret) and for each value of
    ``headers``, whose other names are removed; ``headers`` ``None`` keeps them all. ``preset``
    names an entry of :mod:`providers.clients.presets`. ``reconciles`` has the provider keep
    answers, so that one that was cut off can be looked up.
    """

    name: str
    base_url: str
    chat_model: str = ""
    embedding_model: str = ""
    key: str | None = field(default=None, repr=False)
    price_in: Decimal | None = None
    price_out: Decimal | None = None
    embedding_price: Decimal | None = None
    connect_timeout: float = 5.0
    first_byte_timeout: float = 30.0
    total_timeout: float = 120.0
    concurrency: int = 16
    enabled: bool = True
    reconciles: bool = False
    kind: str = ProviderKind.OPENAI
    preset: str = ""
    models: Sequence[ModelInput] = ()
    proxy: str | None = field(default=None, repr=False)
    ca_certificates: str | None = None
    headers: Mapping[str, str | None] | None = field(default=None, repr=False)
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


def offered(given: ProviderInput) -> list[ModelInput]:
    """The models to offer, each once per sort, in order. Raises :class:`Invalid`."""
    found: dict[tuple[str, bool], ModelInput] = {}
    if given.chat_model:
        found[given.chat_model, False] = ModelInput(
            model=given.chat_model, price_in=given.price_in, price_out=given.price_out
        )
    if given.embedding_model:
        found[given.embedding_model, True] = ModelInput(
            model=given.embedding_model, embeds=True, price_in=given.embedding_price
        )
    for one in given.models:
        name = one.model.strip()
        if not name or len(name) > 120 or not name.isprintable():
            raise Invalid(fields={"models": "A model's name has 1 to 120 characters."})
        found[name, one.embeds] = one
    if len(found) > MOST_MODELS:
        raise Invalid(fields={"models": f"A provider offers at most {MOST_MODELS} models."})
    for one in found.values():
        _check_model(one)
    return list(found.values())


def _check_model(one: ModelInput) -> None:
    for price in (one.price_in, one.price_out, one.price_cached):
        if price is not None and not (price.is_finite() and 0 <= price < 1_000_000):
            raise Invalid(fields={"models": f"A price of {one.model} is not one."})
    for count in (one.context_tokens, one.dimensions):
        if count is not None and not 0 < count <= 2**31 - 1:
            raise Invalid(fields={"models": f"A size of {one.model} is not one."})


def checked_headers(headers: Mapping[str, str | None]) -> dict[str, str | None]:
    """Names as they are sent; raises :class:`Invalid` for what may not be set here.

    A header whose name is the key's or the connection's own is refused: the key has a field of
    its own, where it is encrypted and rotated, and the rest would break the request.
    """
    found: dict[str, str | None] = {}
    for name, value in headers.items():
        name = name.strip()
        if not TOKEN.fullmatch(name):
            raise Invalid(fields={"headers": "A header's name has letters, digits and hyphens."})
        if name.lower() in OURS:
            raise Invalid(
                fields={"headers": f"{name} cannot be set here. Enter a key in its own field."}
            )
        if value is not None and not _sendable(value):
            raise Invalid(
                fields={"headers": f"The value of {name} has characters that no header has."}
            )
        found[name] = value
    if len(found) > MOST_HEADERS or len({name.lower() for name in found}) < len(found):
        raise Invalid(fields={"headers": f"At most {MOST_HEADERS} headers, each name once."})
    return found


def _sendable(value: str) -> bool:
    """Visible ASCII, spaces and tabs: no line ends, by which headers could be smuggled in."""
    return len(value) <= HEADER_LENGTH and all(c == "\t" or " " <= c <= "~" for c in value)


def checked_certificates(pem: str) -> str:
    """Certificates in PEM, as they came; raises :class:`Invalid`."""
    text = pem.strip()
    if not text:
        return ""
    if "PRIVATE KEY" in text:
        raise Invalid(fields={"ca_certificates": "Enter certificates alone, never a private key."})
    try:
        if len(text) > CERTIFICATES_LENGTH or not x509.load_pem_x509_certificates(text.encode()):
            raise ValueError
    except ValueError:
        raise Invalid(
            fields={"ca_certificates": "These are not certificates in PEM form."}
        ) from None
    return text + "\n"


def checked_proxy(proxy: str, *, allow_private: bool) -> str:
    """A proxy's address; raises :class:`Invalid` without repeating what was entered."""
    text = proxy.strip()
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.hostname or not parts.port:
            raise Invalid(fields={"proxy": "Enter a proxy as http://host:port."})
        if parts.path.strip("/") or parts.query or parts.fragment or not _sendable(text):
            raise Invalid(fields={"proxy": "A proxy's address ends with its port."})
        check_host(parts.hostname, allow_private=allow_private)
    except AddressRefused as error:
        raise Invalid(fields={"proxy": error.message}) from None
    except ValueError:
        raise Invalid(fields={"proxy": "This is not an address of a proxy."}) from None
    return text


def checked_rates(given: ProviderInput) -> None:
    """Raises :class:`Invalid` for limits a minute that nobody can keep."""
    for name in ("requests_per_minute", "tokens_per_minute"):
        value = getattr(given, name)
        if value is not None and not 1 <= value <= 2**31 - 1:
            raise Invalid(fields={name: "Enter 1 or more, or leave it empty for no limit."})
