"""``manage.py analyze FILE``: read, cluster and map a file from the command line."""

from __future__ import annotations

import os
import sys
import tempfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, NoReturn

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from typing_extensions import override

from analyses.models import AnalysisSession, SessionStatus
from analyses.report_file import write_results
from analyses.runner.terminal import Interrupted, follow
from analyses.services import command_line
from analyses.services.command_line import Target
from core.errors import AppError
from projects.models import Dataset, Import
from projects.runner import run_import
from templates_app.services import ensure_shipped

STOPPED = 130
"""Exit status after Ctrl-C, as shells have it: 128 + SIGINT."""

BLOCKED = 3
"""Exit status when the analysis could not go on, with what was read kept."""

SHOWN_PROBLEMS = 3


class Command(BaseCommand):
    """Analyses one file; started again with the same file and settings it goes on."""

    help = "Analyse a file of conversations and write report, clusters and conversations."
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command's options."""
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--template", default="general", help="key or name of a template")
        where = parser.add_mutually_exclusive_group()
        where.add_argument("--provider", default="", help="name of a provider of the portal")
        where.add_argument("--base-url", default="", help="an OpenAI-compatible address")
        where.add_argument(
            "--by-route", action="store_true", help="ask the portal's models in their order"
        )
        parser.add_argument("--model", default="", help="chat model at --base-url")
        parser.add_argument("--embedding-model", default="", help="embedding model there")
        parser.add_argument(
            "--api-key-env",
            default="",
            metavar="VAR",
            help="environment variable that holds the key",
        )
        parser.add_argument(
            "--batches",
            action="store_true",
            help="read in the provider's batches: half the price, within a day",
        )
        parser.add_argument("--concurrency", type=int, help="calls in flight at once")
        parser.add_argument("--limit", type=int, help="read only the first N conversations")
        parser.add_argument("--out", type=Path, help="folder for the results")
        parser.add_argument("--fresh", action="store_true", help="begin anew")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        """Run to the end; errors end with one message and a status other than 0."""
        path: Path = options["file"]
        try:
            check_file(path)
            target = target_of(options)
            out = folder_of(path, options["out"])
            session = self._session(options, target)
            finished = follow(session, self._stopped)
            write_results(finished, out)
        except (KeyboardInterrupt, Interrupted):
            self._stopped()
        except AppError as error:
            raise CommandError(error.text) from error
        except DatabaseError as error:
            raise CommandError(f"The database could not be used: {error}.") from error
        except OSError as error:
            raise CommandError(f"{error.filename or path}: {error.strerror or error}.") from error
        else:
            self._end(finished, out)

    def _session(self, options: dict[str, Any], target: Target) -> AnalysisSession:
        call_command("migrate", verbosity=0, interactive=False)
        ensure_shipped()
        user = command_line.actor()
        version = command_line.template(options["template"])
        chat, embedding = command_line.deployments(target)
        dataset = self._dataset(options["file"], command_line.project(user), user)
        session, known = command_line.session_for(
            user,
            dataset,
            version,
            chat,
            embedding,
            limit=options["limit"],
            concurrency=options["concurrency"],
            fresh=options["fresh"],
            by_route=options["by_route"],
            batches=options["batches"],
        )
        if known and session.ended:
            self.stderr.write("Analysed before with these settings. Use --fresh to read it again.")
        elif known:
            self.stderr.write(f"Going on with analysis {session.number} of this file.")
        if not session.ended:
            command_line.check_reachable(None if options["by_route"] else chat)
        return session

    def _dataset(self, path: Path, project: Any, user: Any) -> Dataset:
        """Import the file, or find it imported."""
        digest = command_line.file_digest(path)
        known = command_line.known_dataset(project, digest)
        if known is not None:
            return known
        record = command_line.import_of(user, project, path, digest)
        run_import(record.pk, self._imported)
        if sys.stderr.isatty():
            self.stderr.write("")
        record.refresh_from_db()
        dataset = command_line.imported(record)
        if record.rejected:
            self._name_problems(record)
        return dataset

    def _imported(self, accepted: int, rejected: int) -> None:
        if sys.stderr.isatty():
            self.stderr.write(f"\rReading the file: {accepted:,} conversations", ending="")
            self.stderr.flush()

    def _name_problems(self, record: Import) -> None:
        self.stderr.write(
            f"{record.accepted:,} conversations; {record.rejected:,} places could not be read:"
        )
        for problem in record.problems.all()[:SHOWN_PROBLEMS]:
            self.stderr.write(f"  line {problem.line}: {problem.reason}")
        if record.rejected > SHOWN_PROBLEMS:
            self.stderr.write(f"  and {record.rejected - SHOWN_PROBLEMS:,} more")

    def _end(self, session: AnalysisSession, out: Path) -> None:
        if session.status in (SessionStatus.COMPLETED, SessionStatus.PARTIAL):
            skipped = f", {session.failed_count:,} skipped" if session.failed_count else ""
            self.stdout.write(f"{session.read_count:,} conversations read{skipped}. See {out}")
            return
        if session.status in (SessionStatus.BLOCKED, SessionStatus.FAILED):
            raise CommandError(
                f"The analysis stopped. {session.detail} What was read is kept; start the same "
                f"command again to go on. Results so far are in {out}",
                returncode=BLOCKED,
            )
        raise CommandError(
            f"The analysis was {session.get_status_display().lower()} elsewhere. "
            f"Start the same command again to go on. Results so far are in {out}",
            returncode=BLOCKED,
        )

    def _stopped(self) -> NoReturn:
        """Leave at once: a thread deep in numbers would hold up an orderly exit."""
        self.stderr.write(
            "Stopped. Nothing is lost: start the same command again to go on. A portal that works "
            "on the same data goes on with it by itself; “manage.py analysis” pauses it there."
        )
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(STOPPED)


def check_file(path: Path) -> None:
    """Raise :class:`CommandError` for what is no readable file, before anything is set up."""
    if path.is_dir():
        raise CommandError(f"{path} is a folder. Name one file.")
    if not path.exists():
        raise CommandError(f"There is no file {path}.")
    if not path.is_file():
        raise CommandError(f"{path} is not a file.")
    if not os.access(path, os.R_OK):
        raise CommandError(f"{path} may not be read. Check its permissions.")
    if path.stat().st_size == 0:
        raise CommandError(f"{path} is empty.")


def target_of(options: dict[str, Any]) -> Target:
    """Where models are called. Raises :class:`CommandError` for options that do not fit."""
    for name in ("concurrency", "limit"):
        if options[name] is not None and options[name] < 1:
            raise CommandError(f"--{name} must be at least 1.")
    if options["base_url"] and not options["model"]:
        raise CommandError("--base-url needs --model.")
    for name in ("model", "embedding_model", "api_key_env"):
        if options[name] and not options["base_url"]:
            raise CommandError(f"--{name.replace('_', '-')} needs --base-url.")
    if options["batches"] and not (options["base_url"] or options["provider"]):
        raise CommandError("--batches needs --provider or --base-url.")
    variable = options["api_key_env"]
    if variable and not os.environ.get(variable):
        raise CommandError(f"The environment variable {variable} is not set.")
    return Target(
        provider=options["provider"],
        base_url=options["base_url"],
        model=options["model"],
        embedding_model=options["embedding_model"],
        key=os.environ.get(variable, "").strip() if variable else "",
        batches=options["batches"],
    )


def folder_of(path: Path, given: Path | None) -> Path:
    """The folder for results, made and tried now rather than after hours of work."""
    out = given or Path(f"openclio-{path.name.split('.')[0] or 'results'}")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        cause = error.strerror or error
        raise CommandError(f"Results cannot be written to {out}: {cause}.") from error
    return out
