"""``manage.py rotate_keys``: move every stored secret to the newest encryption key."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from typing_extensions import override

from core.figures import count_of
from providers.services.keys import Rotation, rotate_keys


class Command(BaseCommand):
    """Encrypts keys, proxies and headers of providers with the ring's first key."""

    help = (
        "Encrypt every provider's stored secrets with the first of OPENCLIO_ENCRYPTION_KEYS. "
        "Safe while the product runs, and to repeat. With --check, only say whether an older key "
        "of the ring is still needed."
    )

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--check",
            action="store_true",
            help="Change nothing; end with an error while an older key is still needed.",
        )

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        check = options["check"]
        result = rotate_keys(look_only=check)
        self.stdout.write(_counts(result, check))
        if result.lost:
            names = ", ".join(sorted(result.lost_at))
            raise CommandError(
                f"{count_of(result.lost, 'secret')} cannot be read with the keys of this server, "
                f"at: {names}. Put the missing key back, or enter these secrets again."
            )
        if check and result.moved:
            raise CommandError("Older keys are still needed. Run rotate_keys without --check.")
        if len(settings.ENCRYPTION_KEYS) > 1:
            self.stdout.write("Only the first encryption key is needed; the older ones may go.")


def _counts(result: Rotation, check: bool) -> str:
    total = result.current + result.moved + result.lost
    moved = "need an older key" if check else "encrypted anew"
    return (
        f"{count_of(total, 'secret')}: {result.moved} {moved}, "
        f"{result.current} under the newest key already, {result.lost} unreadable."
    )
