"""``manage.py scripted_provider``: the product's own provider over HTTP, for trying things out."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from typing_extensions import override

from providers.clients.scenario import Scenario, load_scenario, shipped_scenarios
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
            "--scenario",
            default="",
            help="a JSON file, or one that ships with the product: "
            f"{', '.join(shipped_scenarios())}; without it every call succeeds",
        )
        parser.add_argument("--seed", type=int, help="another run of the same scenario")
        parser.add_argument(
            "--requests-per-minute", type=int, help="refuse what comes faster; 0 for no limit"
        )

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        """Serve until Ctrl-C."""
        try:
            scenario = load_scenario(options["scenario"]) if options["scenario"] else Scenario()
            asked = {name: options[name] for name in ("seed", "requests_per_minute")}
            told = {name: value for name, value in asked.items() if value is not None}
            scenario = Scenario.model_validate({**scenario.model_dump(), **told})
        except (OSError, ValueError) as error:
            raise CommandError(f"The scenario could not be read: {error}") from error
        try:
            asyncio.run(serve(options["host"], options["port"], scenario))
        except (OSError, OverflowError) as error:
            raise CommandError(f"Cannot listen on port {options['port']}: {error}") from error
        except KeyboardInterrupt:
            self.stderr.write("Stopped.")
