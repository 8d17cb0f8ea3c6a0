"""``manage.py purge_answers --days N``: forget what models answered; what it cost stays."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from typing_extensions import override

from core.figures import count_of
from providers.services import purge_answers


class Command(BaseCommand):
    """Removes answers older than so many days from the journal."""

    help = (
        "Remove the text of models' answers that are older than so many days. What was asked "
        "when, its tokens and its cost stay. A question put again is then paid for again."
    )

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, required=True, help="Keep answers this young.")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        purged = purge_answers(days=max(0, options["days"]))
        self.stdout.write(f"{count_of(purged, 'answer')} removed.")
