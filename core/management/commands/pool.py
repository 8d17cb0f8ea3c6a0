"""Holds worker processes; `serve` starts it and answers for it."""

from typing import Any

from django.core.management.base import BaseCommand
from typing_extensions import override

from core import q2


class Command(BaseCommand):
    """`manage.py pool`"""

    help = "Hold the worker processes. Started by serve, which restarts it when it hangs or dies."

    @override
    def handle(self, *_args: Any, **_options: Any) -> None:
        """Run until told to stop."""
        q2.hold_workers()
