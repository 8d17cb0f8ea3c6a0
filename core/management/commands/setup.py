"""Makes an installation ready to serve. Safe to run again at any time."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils.module_loading import import_string
from typing_extensions import override

from core import database
from core.disks import shared_disk
from core.supervision.serving import address, first_owner_line, leave_first_visit


class Command(BaseCommand):
    """`manage.py setup`"""

    help = "Migrate the database, collect static files, add the sample project. Runs repeatedly."

    @override
    def handle(self, *_args: Any, **_options: Any) -> None:
        """Do what is missing, in order, and say what was done."""
        self._check_database()
        self._migrate()
        self._collect_static()
        for step in settings.SETUP_STEPS:
            import_string(step)()
        self.stdout.write("OpenClio is set up.")
        if path := import_string(settings.FIRST_OWNER_LINK)():
            leave_first_visit(path)
            self.stdout.write(first_owner_line(path, address("127.0.0.1", settings.PORT)))

    def _check_database(self) -> None:
        try:
            connection.ensure_connection()
        except OperationalError as error:
            raise CommandError(f"The database does not answer: {error}") from error
        if settings.SQLITE:
            if complaint := shared_disk(Path(settings.DATABASES["default"]["NAME"])):
                raise CommandError(complaint)
            with connection.cursor() as cursor:
                cursor.execute("PRAGMA quick_check(1)")
                found = cursor.fetchone()[0]
            if found != "ok":
                raise CommandError(f"The database file is damaged: {found}. Restore a backup.")
        if wrong := database.complaint():
            raise CommandError(wrong)
        if database.schema() == "newer":
            raise CommandError(database.UPGRADE["newer"])

    def _migrate(self) -> None:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if plan:
            self.stdout.write(f"Preparing the database ({len(plan)} migrations) ...")
            call_command("migrate", interactive=False, verbosity=0)

    def _collect_static(self) -> None:
        """Collect when a file was added, changed or removed since the last time."""
        stamp = settings.STATIC_ROOT / "sources.sha256"
        wanted = hashlib.sha256("\n".join(sorted(self._sources())).encode()).hexdigest()
        if stamp.is_file() and stamp.read_text("utf-8") == wanted:
            return
        self.stdout.write("Collecting static files ...")
        # In a process of its own: the storage that fingerprints is chosen when settings load.
        subprocess.run(  # noqa: S603  # our own command, no shell
            [sys.executable, sys.argv[0], "collectstatic", "--noinput", "--clear", "-v0"],
            check=True,
        )
        stamp.write_text(wanted, "utf-8")

    @staticmethod
    def _sources() -> Iterator[str]:
        for finder in finders.get_finders():
            for name, storage in finder.list([]):
                changed = storage.get_modified_time(name).isoformat()
                yield f"{name} {storage.size(name)} {changed}"
