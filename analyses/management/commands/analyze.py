"""``manage.py analyze FILE``: read, cluster and map a file from the command line."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

import analyses.runner.preload  # noqa: F401 - before the worker forks
from analyses.models import AnalysisSession, SessionStatus
from analyses.runner.terminal import follow
from analyses.services import command_line
from analyses.services.command_line import Target
from core.errors import AppError
from core.models import WorkStatus
from projects.models import Dataset, DatasetStatus
from projects.runner import run_import
from projects.services import upload
from templates_app.services import ensure_shipped

STOPPED = 130
"""Exit status after Ctrl-C, as shells have it: 128 + SIGINT."""


class Command(BaseCommand):
    """Analyses one file; started again with the same file and settings it goes on."""

    help = "Analyse a file of conversations and write report, clusters and conversations."
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command's options."""
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--template", default="general", help="key or name of a template")
        where = parser.add_mutually_exclusive_group()
        where.add_argument("--provider", default="", help="name of a provider of the portal")
        where.add_argument("--base-url", default="", help="an OpenAI-compatible address")
        parser.add_argument("--model", default="", help="chat model at --base-url")
        parser.add_argument("--embedding-model", default="", help="embedding model there")
        parser.add_argument(
            "--api-key-env",
            default="",
            metavar="VAR",
            help="environment variable that holds the key",
        )
        parser.add_argument("--concurrency", type=int, help="calls in flight at once")
        parser.add_argument("--limit", type=int, help="read only the first N conversations")
        parser.add_argument("--out", type=Path, help="folder for the results")
        parser.add_argument("--fresh", action="store_true", help="begin anew")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run to the end; errors end with a message and a status other than 0."""
        try:
            target = self._target(options)
            call_command("migrate", verbosity=0, interactive=False)
            session, known = self._session(options, target)
        except AppError as error:
            raise CommandError(error.text) from error
        if known:
            self.stderr.write(f"Going on with analysis {session.number} of this file.")
        finished = follow(session)
        out = options["out"] or Path(f"openclio-{options['file'].name.split('.')[0]}")
        self._write(finished, out)
        self._end(finished, out)

    def _target(self, options: dict[str, Any]) -> Target:
        path: Path = options["file"]
        if not path.is_file():
            raise CommandError(f"There is no file {path}.")
        for name in ("concurrency", "limit"):
            if options[name] is not None and options[name] < 1:
                raise CommandError(f"--{name} must be at least 1.")
        if options["base_url"] and not options["model"]:
            raise CommandError("--base-url needs --model.")
        variable = options["api_key_env"]
        if variable and variable not in os.environ:
            raise CommandError(f"The environment variable {variable} is not set.")
        return Target(
            provider=options["provider"],
            base_url=options["base_url"],
            model=options["model"],
            embedding_model=options["embedding_model"],
            key=os.environ.get(variable, "") if variable else "",
        )

    def _session(self, options: dict[str, Any], target: Target) -> tuple[AnalysisSession, bool]:
        ensure_shipped()
        user = command_line.actor()
        version = command_line.template(options["template"])
        dataset = self._dataset(options["file"], command_line.project(user), user)
        return command_line.session_for(
            user,
            dataset,
            version,
            target,
            limit=options["limit"],
            concurrency=options["concurrency"],
            fresh=options["fresh"],
        )

    def _dataset(self, path: Path, project: Any, user: Any) -> Dataset:
        """Import the file, or find it imported."""
        known = command_line.known_dataset(project, command_line.file_digest(path))
        if known is not None:
            return known
        record = upload(actor=user, project=project, file=path, name=path.name, wake=False)
        run_import(record.pk, self._imported)
        if sys.stderr.isatty():
            self.stderr.write("")
        record.refresh_from_db()
        dataset = Dataset.objects.get(pk=record.dataset_id)
        if dataset.status != DatasetStatus.READY or record.status != WorkStatus.DONE:
            raise CommandError(f"{path.name} was not read. {record.error}")
        if record.rejected:
            self.stderr.write(f"{record.rejected} lines were not read; the first reasons:")
            for problem in record.problems.all()[:3]:
                self.stderr.write(f"  line {problem.line}: {problem.reason}")
        return dataset

    def _imported(self, accepted: int, rejected: int) -> None:
        if sys.stderr.isatty():
            self.stderr.write(f"\rReading the file: {accepted:,} conversations", ending="")
            self.stderr.flush()

    def _write(self, session: AnalysisSession, out: Path) -> None:
        from analyses.report_file import write_results

        try:
            write_results(session, out)
        except OSError as error:
            raise CommandError(f"The results could not be written to {out}: {error}.") from error

    def _end(self, session: AnalysisSession, out: Path) -> None:
        if session.status in (SessionStatus.COMPLETED, SessionStatus.PARTIAL):
            self.stdout.write(f"{session.read_count:,} conversations read. Results are in {out}")
            return
        if session.status in (SessionStatus.BLOCKED, SessionStatus.FAILED):
            raise CommandError(
                f"The analysis stopped. {session.detail} What was read is kept; start the same "
                f"command again to go on. Results so far are in {out}",
                returncode=3,
            )
        self.stderr.write(
            "Stopped. Nothing is lost: start the same command again to go on. "
            f"Results so far are in {out}"
        )
        sys.exit(STOPPED)
