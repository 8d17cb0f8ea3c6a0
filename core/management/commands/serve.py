"""Serves the product: web process and workers under one supervisor."""

import os
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError
from typing_extensions import override

from core import database
from core.supervision.serving import Serving, check_port


class Command(BaseCommand):
    """`manage.py serve`"""

    help = "Serve OpenClio: the web process and the workers, restarted when they die."

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        """Options win over the environment (PORT, WORKERS)."""
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
        parser.add_argument("--port", type=int, default=None, help="default: PORT, or 8000")
        parser.add_argument("--workers", type=int, default=None, help="default: WORKERS, or 2")
        parser.add_argument("--no-web", action="store_true", help="workers only, on a further host")
        parser.add_argument("--no-workers", action="store_true", help="web process only")

    @override
    def handle(self, *_args: Any, **options: Any) -> None:
        """Start, say where, and stay until told to stop."""
        if options["no_web"] and options["no_workers"]:
            raise CommandError("--no-web and --no-workers together leave nothing to serve.")
        host, port = options["host"], options["port"]
        port = port if port is not None else settings.PORT
        workers = settings.WORKERS if options["workers"] is None else options["workers"]
        if workers != settings.WORKERS:
            # Every process reads it from the environment, this one too: begin anew with it set.
            os.environ["WORKERS"] = str(workers)
            os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606
        self._check_database()
        if not options["no_web"]:
            check_port(host, port)
        Serving(
            host=host,
            port=port,
            workers=0 if options["no_workers"] else workers,
            web=not options["no_web"],
            say=self._say,
        ).run()

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()

    @staticmethod
    def _check_database() -> None:
        try:
            state, wrong = database.schema(), database.complaint()
        except OperationalError as error:
            raise CommandError(f"The database does not answer: {error}") from error
        if wrong:
            raise CommandError(wrong)
        if state != "current":
            raise CommandError(database.UPGRADE[state])
