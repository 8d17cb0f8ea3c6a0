"""Replacing a provider's key while calls run, and moving secrets to a new server key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import Role, User
from accounts.services import audit, require
from core.errors import Conflict, Invalid, NotFound
from providers import keys
from providers.models import Provider
from providers.services.health import reopen_after_change
from providers.services.secrets import COLUMNS, sealed, tokens_of

KEY_LENGTH = 500
GROUP = 100
"""Providers whose secrets are encrypted anew in one transaction."""


@transaction.atomic
def replace_key(*, actor: User, provider: Provider, key: str, keep_old: bool) -> Provider:
    """Use another key from the next call on. Owners only.

    With ``keep_old`` the one used so far stays as a spare and is tried when the new one is refused,
    until :func:`drop_spare_key`; so a key can be changed here before the provider knows the new
    one. A spare of before is removed. The key is never given back. Raises :class:`Invalid`.
    """
    row = _locked(actor, provider)
    if not key or len(key) > KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise Invalid(fields={"key": "A key has 1 to 500 letters, digits and signs."})
    spare = (row.key_encrypted, row.key_hint) if keep_old else ("", "")
    row.spare_key_encrypted, row.spare_key_hint = spare
    row.key_encrypted, row.key_hint = sealed(key), keys.hint(key)
    row.key_changed_at = timezone.now()
    row.checked_at, row.check_ok, row.check_text = None, None, ""
    row.save(update_fields=[*_KEY_FIELDS, "key_changed_at", "checked_at", "check_ok", "check_text"])
    _note(actor, row, "provider.key_replaced", kept_old=bool(spare[0]))
    reopen_after_change(row)
    return row


@transaction.atomic
def drop_spare_key(*, actor: User, provider: Provider) -> Provider:
    """Forget the key that was kept as a spare. Owners only; raises :class:`Conflict` without one."""
    row = _locked(actor, provider)
    if not row.spare_key_encrypted:
        raise Conflict(why="There is no second key.")
    row.spare_key_encrypted = row.spare_key_hint = ""
    row.save(update_fields=_KEY_FIELDS)
    _note(actor, row, "provider.spare_key_dropped")
    return row


_KEY_FIELDS = ("key_encrypted", "key_hint", "spare_key_encrypted", "spare_key_hint")


def _locked(actor: User, provider: Provider) -> Provider:
    require(actor, provider.workspace, Role.OWNER)
    row = Provider.objects.select_for_update().filter(pk=provider.pk).first()
    if row is None:
        raise NotFound
    return row


def _note(actor: User, row: Provider, action: str, **data: object) -> None:
    audit(workspace=row.workspace, actor=actor, action=action, obj=row, hint=row.key_hint, **data)


@dataclass(slots=True)
class Rotation:
    """What became of the stored secrets.

    ``current`` were under the newest server key already, ``moved`` are so now (or, when only
    looked at, still need an older one), ``lost`` no key of the ring opens; ``lost_at`` names their
    providers.
    """

    current: int = 0
    moved: int = 0
    lost: int = 0
    lost_at: set[str] = field(default_factory=set)

    def count(self, row: Provider, token: str) -> str:
        """The token as it is to be stored."""
        ring = settings.ENCRYPTION_KEYS
        if keys.is_current(token, ring):
            self.current += 1
            return token
        try:
            token = keys.rotate(token, ring)
        except keys.KeyUnreadable:
            self.lost += 1
            self.lost_at.add(row.name)
        else:
            self.moved += 1
        return token


def rotate_keys(*, look_only: bool = False, said: Callable[[int], None] | None = None) -> Rotation:
    """Encrypt every stored secret anew with the newest server key.

    Goes through the providers in groups, each a transaction, so that it may be broken off and
    started again, and run beside people at work. ``said`` is told how many providers are done.
    ``look_only`` changes nothing.
    """
    result, last, done = Rotation(), 0, 0
    while True:
        count, last = _rotate_some(result, last, look_only)
        done += count
        if not count:
            return result
        if said is not None:
            said(done)


@transaction.atomic
def _rotate_some(result: Rotation, after: int, look_only: bool) -> tuple[int, int]:
    rows = Provider.objects.order_by("pk").filter(pk__gt=after)
    group = list((rows if look_only else rows.select_for_update())[:GROUP])
    for row in group:
        before = list(tokens_of(row))
        for column in COLUMNS:
            if token := getattr(row, column):
                setattr(row, column, result.count(row, token))
        row.extra_headers = {
            name: result.count(row, token) for name, token in row.extra_headers.items()
        }
        if not look_only and list(tokens_of(row)) != before:
            row.save(update_fields=[*COLUMNS, "extra_headers"])
    return len(group), group[-1].pk if group else after
