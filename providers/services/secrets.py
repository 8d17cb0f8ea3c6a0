"""What a provider keeps encrypted: its keys, its proxy's address, the values of its headers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from django.conf import settings

from core.errors import Invalid
from providers import keys
from providers.gateway.types import Secret
from providers.models import Provider

COLUMNS = ("key_encrypted", "spare_key_encrypted", "proxy_encrypted")
"""Columns that hold one token each; every value of ``extra_headers`` is a token as well."""


def sealed(plain: str) -> str:
    """What is stored of a secret, under the newest key of the ring."""
    return keys.encrypt(plain, settings.ENCRYPTION_KEYS)


def stored_key(row: Provider) -> Secret:
    """The provider's key, decrypted; raises :class:`Invalid` after the server's own keys changed."""
    return opened(row.key_encrypted, "key", "The stored key")


def spare_key(row: Provider) -> Secret:
    """The second live key, empty if there is none. One that cannot be read is as good as none."""
    try:
        return opened(row.spare_key_encrypted, "key", "The second key")
    except Invalid:
        return Secret()


def stored_proxy(row: Provider) -> Secret:
    """The proxy's address, which may hold a password; raises :class:`Invalid`."""
    return opened(row.proxy_encrypted, "proxy", "The stored address of the proxy")


def stored_headers(row: Provider) -> tuple[tuple[str, str], ...]:
    """The extra headers by name; raises :class:`Invalid`."""
    return tuple(
        (name, opened(token, "headers", f"The stored value of {name}").reveal())
        for name, token in sorted(row.extra_headers.items())
    )


def opened(token: str, field: str, what: str) -> Secret:
    """A stored secret; raises :class:`Invalid` beside ``field``, naming ``what`` was lost."""
    try:
        return keys.decrypt(token, settings.ENCRYPTION_KEYS)
    except keys.KeyUnreadable as error:
        text = f"{what} can no longer be read. Enter it again."
        raise Invalid(fields={field: text}) from error


def tokens_of(row: Provider) -> Iterator[str]:
    """Every token a provider has stored."""
    yield from (token for column in COLUMNS if (token := getattr(row, column)))
    headers: Mapping[str, str] = row.extra_headers
    yield from headers.values()
