"""Provider keys at rest: encrypted with a ring of keys, the newest first.

Fernet is AES-128-CBC with HMAC-SHA-256 (cryptography's specification of it). The ring's first key
encrypts, all of them decrypt, so that a new key can be put in front and old tokens rotated.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from providers.gateway.types import Secret

_INFO = b"openclio provider keys v1"


class KeyUnreadable(Exception):
    """A stored key that no key of the ring opens."""


def encrypt(plain: str, ring: Sequence[str]) -> str:
    """Encrypt with the ring's first secret; the empty string stays empty."""
    return _fernet(ring).encrypt(plain.encode()).decode("ascii") if plain else ""


def decrypt(token: str, ring: Sequence[str]) -> Secret:
    """The key inside a token; raises :class:`KeyUnreadable`."""
    if not token:
        return Secret()
    try:
        return Secret(_fernet(ring).decrypt(token.encode()).decode())
    except InvalidToken:
        pass
    raise KeyUnreadable("The stored key cannot be read with the secrets this server has.")


def rotate(token: str, ring: Sequence[str]) -> str:
    """The same key, encrypted anew with the ring's first secret."""
    return encrypt(decrypt(token, ring).reveal(), ring)


def is_current(token: str, ring: Sequence[str]) -> bool:
    """Whether the ring's first secret alone opens a token, so that the others are not needed."""
    try:
        _fernet(ring[:1]).decrypt(token.encode())
    except InvalidToken:
        return False
    return True


def hint(plain: str) -> str:
    """What may be shown of a key: its last four characters, if enough stays hidden."""
    return plain[-4:] if len(plain) >= 12 else ""


def _fernet(ring: Sequence[str]) -> MultiFernet:
    """One Fernet key per secret, by HKDF-SHA-256 (RFC 5869): secrets may have any form."""
    if not ring or not all(ring):
        raise ValueError("the key ring is empty")
    derived = (
        HKDF(algorithm=SHA256(), length=32, salt=None, info=_INFO).derive(secret.encode())
        for secret in ring
    )
    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in derived])
