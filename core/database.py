"""What the database's errors mean, and whether it is set up as the product needs it."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from django.conf import settings
from django.db import DatabaseError, Error, InterfaceError, OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

Schema = Literal["current", "older", "newer"]

# SQLite's primary result codes of faults that pass or that an operator can mend
# (https://www.sqlite.org/rescode.html). SQLITE_ERROR, a wrong statement, is not among them.
SQLITE_PASSING = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)
PRIMARY = 0xFF

# PostgreSQL's classes (its manual, appendix A): connection, rollback (deadlock, serialization),
# resources, lock not available, operator intervention, system error; and single codes: a server
# that is read-only (a standby after failover), a transaction that idled too long.
POSTGRES_PASSING = ("08", "40", "53", "55", "57", "58", "25006", "25P03")

BUSY_SECONDS = 20
"""How long SQLite waits for the write lock before it says that it is locked."""


def passes(error: BaseException | None) -> bool:
    """Whether an error is the database's own trouble, which ends without a change of ours.

    Away, restarting, locked, full, deadlocked: what was asked is asked again later. Anything else
    (a constraint, a wrong statement) would fail the same way every time.
    """
    if not isinstance(error, DatabaseError | InterfaceError):
        return False
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", 0) & PRIMARY in SQLITE_PASSING
    state = getattr(cause, "sqlstate", None)
    if state:
        return str(state).startswith(POSTGRES_PASSING)
    return isinstance(error, OperationalError | InterfaceError)


def is_read_only(error: BaseException | None) -> bool:
    """Whether the database may be read but not written."""
    cause = getattr(error, "__cause__", None)
    code = getattr(cause, "sqlite_errorcode", 0) & PRIMARY
    return code == sqlite3.SQLITE_READONLY or getattr(cause, "sqlstate", None) == "25006"


def is_disk_full(error: BaseException | None) -> bool:
    """Whether the database has no room left to write."""
    cause = getattr(error, "__cause__", None)
    code = getattr(cause, "sqlite_errorcode", 0) & PRIMARY
    return code == sqlite3.SQLITE_FULL or getattr(cause, "sqlstate", None) == "53100"


def schema() -> Schema:
    """Whether the tables are those of this version, of an older, or of a newer one."""
    executor = MigrationExecutor(connection)
    known = set(executor.loader.disk_migrations or {})
    ours = {app for app, _ in known}
    applied = {key for key in executor.loader.applied_migrations if key[0] in ours}
    if applied - known - _replaced(executor):
        return "newer"
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        return "older"
    return "current"


def _replaced(executor: MigrationExecutor) -> set[tuple[str, str]]:
    """Migrations that a squashed one stands for."""
    squashed = (executor.loader.disk_migrations or {}).values()
    return {key for migration in squashed for key in migration.replaces}


UPGRADE: dict[str, str] = {
    "current": "",
    "older": "The database is not up to date. Run `manage.py setup` first.",
    "newer": (
        "The database was prepared by a newer version of OpenClio. Install that version, or "
        "restore the backup that was made before the upgrade."
    ),
}
"""What an operator does about tables of another version."""


def needs_upgrade(error: BaseException | None) -> bool:
    """Whether a database error came from tables of another version. Asks the database."""
    if not isinstance(error, DatabaseError) or passes(error):
        return False
    try:
        return schema() != "current"
    except DatabaseError:
        return False


def in_words(error: BaseException) -> str:
    """One line for the log on a fault that is no fault of the code; empty for anything else."""
    if passes(error):
        return f"The database does not answer; it is asked again: {str(error).strip()[:300]}"
    if needs_upgrade(error):
        return f"The database is of another version. {UPGRADE[schema()]}"
    return ""


@contextmanager
def plainly(log: logging.Logger) -> Iterator[None]:
    """Say in one line what :func:`in_words` knows, and end; anything else is raised as it is."""
    try:
        yield
    except Error as error:
        if not (plain := in_words(error)):
            raise
        log.error(plain)


def mend() -> None:
    """Let go of this thread's connection if it broke, so that the next query makes a new one."""
    if connection.errors_occurred:
        connection.close_if_unusable_or_obsolete()


def complaint() -> str:
    """Why the database must not be used as it is set up; empty when it may.

    What a wrong setting costs was measured: without IMMEDIATE transactions, writers of SQLite
    fail with "database is locked" by the thousand; without time limits, one idle transaction of
    PostgreSQL holds everybody up.
    """
    return _of_sqlite() if connection.vendor == "sqlite" else _of_postgres()


def _of_sqlite() -> str:
    options = settings.DATABASES["default"]["OPTIONS"]
    if options.get("transaction_mode") != "IMMEDIATE":
        return "SQLite needs transactions that begin IMMEDIATE."
    mode, synchronous, busy = (
        _pragma(name) for name in ("journal_mode", "synchronous", "busy_timeout")
    )
    if str(mode).lower() != "wal":
        return f"SQLite keeps no write-ahead log here (journal mode {mode}). Use a local disk."
    if int(synchronous) < FULL and not settings.TESTING:
        return "SQLite does not wait for the disk (synchronous below FULL)."
    if int(busy) < 1000 * BUSY_SECONDS:
        return f"SQLite waits only {int(busy) / 1000:g} s for its lock; {BUSY_SECONDS} are needed."
    return ""


FULL = 2  # https://www.sqlite.org/pragma.html#pragma_synchronous


def _pragma(name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA {name}")
        row = cursor.fetchone()
    return str(row[0])


def _of_postgres() -> str:
    with connection.cursor() as cursor:
        for name in ("idle_in_transaction_session_timeout", "lock_timeout"):
            cursor.execute("SELECT setting::int FROM pg_settings WHERE name = %s", [name])
            if not cursor.fetchone()[0]:
                return f"PostgreSQL's {name} is off for this connection; it must have a limit."
    return ""
