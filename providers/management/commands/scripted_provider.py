"""``manage.py scripted_provider``: the product's own provider over HTTP, for trying things out."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from typing_extensions import override

from providers.clients.scripted import Scenario, load_scenario
from providers.clients.scripted_server import serve


class Command(BaseCommand):
    """Serves plausible answers, or the faults of a scenario, until it is stopped."""

    help = "Serve an OpenAI-compatible provider that follows a script; prints its base URL."
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command's options."""
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
        parser.add_argument(
            "--scenario", type=Path, help="JSON file; without it every call succeeds"
        )

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        """Serve until Ctrl-C."""
        try:
            scenario = load_scenario(options["scenario"]) if options["scenario"] else Scenario()
        except (OSError, ValueError) as error:
            raise CommandError(f"The scenario could not be read: {error}") from error
        try:
            asyncio.run(serve(options["host"], options["port"], scenario))
        except (OSError, OverflowError) as error:
            raise CommandError(f"Cannot listen on port {options['port']}: {error}") from error
        except KeyboardInterrupt:
            self.stderr.write("Stopped.")
