"""What of a database's trouble passes, and what is a fault of ours."""

from __future__ import annotations

import sqlite3

import pytest
from django.db import (
    DataError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
)

from core import database
from tests.faults.support import (
    postgres_error,
    sqlite_error,
)

PASSING = [
    "DeadlockDetected",
    "SerializationFailure",
    "AdminShutdown",
    "CrashShutdown",
    "CannotConnectNow",
    "TooManyConnections",
    "LockNotAvailable",
    "DiskFull",
    "ConnectionFailure",
    "IdleInTransactionSessionTimeout",
    "ReadOnlySqlTransaction",
]


@pytest.mark.parametrize("kind", PASSING)
def test_trouble_of_the_server_passes(kind: str) -> None:
    assert database.passes(postgres_error(kind))


@pytest.mark.parametrize("kind", ["UndefinedTable", "SyntaxError", "NotNullViolation"])
def test_a_wrong_statement_does_not_pass(kind: str) -> None:
    assert not database.passes(postgres_error(kind))


@pytest.mark.parametrize(
    ("code", "passes"),
    [
        (sqlite3.SQLITE_BUSY, True),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, True),
        (sqlite3.SQLITE_FULL, True),
        (sqlite3.SQLITE_IOERR_WRITE, True),
        (sqlite3.SQLITE_READONLY_DBMOVED, True),
        (sqlite3.SQLITE_CANTOPEN, True),
        (sqlite3.SQLITE_ERROR, False),
        (sqlite3.SQLITE_CORRUPT, False),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, False),
    ],
)
def test_codes_of_sqlite(code: int, passes: bool) -> None:
    assert database.passes(sqlite_error(code)) is passes


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (InterfaceError("connection already closed"), True),
        (OperationalError("the connection is closed"), True),
        (IntegrityError("twice"), False),
        (DataError("too long"), False),
        (ProgrammingError("no such thing"), False),
        (ValueError("not of the database"), False),
        (None, False),
    ],
)
def test_errors_without_a_cause(error: Exception | None, passes: bool) -> None:
    assert database.passes(error) is passes
