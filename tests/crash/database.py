"""The database of an installation under test, read beside the program, whichever it is."""

import os
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime
from urllib.parse import urlsplit, urlunsplit

import psycopg


class Database:
    """A file, or a database of its own on a PostgreSQL server. Queries mark values with ``?``."""

    def __init__(self, file, server=""):
        self._file = file
        self.url = ""
        if server:
            name = f"crash_{os.urandom(6).hex()}"
            with psycopg.connect(server, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}")
            self.url = urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
        self._local = threading.local()

    @property
    def name(self):
        """What people call it."""
        return "PostgreSQL" if self.url else "SQLite"

    @property
    def environment(self):
        """How the program finds it."""
        return {"DATABASE_URL": self.url} if self.url else {}

    def rows(self, query, *values):
        """All rows of a query, which sees what is committed now."""
        if not self.url:
            with closing(sqlite3.connect(self._file, timeout=30)) as connection:
                return connection.execute(query, values).fetchall()
        connection = getattr(self._local, "connection", None)
        if connection is None or connection.closed:
            connection = self._local.connection = psycopg.connect(self.url, autocommit=True)
        return connection.execute(query.replace("?", "%s"), values).fetchall()

    def writable(self):
        """Whether a write could begin now; always, where writers wait for rows only."""
        if self.url:
            return True
        try:
            with closing(sqlite3.connect(self._file, timeout=0.3)) as connection:
                connection.isolation_level = None
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return False
        return True


def moment(stored):
    """A stored time, as either database gives it back."""
    if isinstance(stored, str):
        return datetime.fromisoformat(stored).replace(tzinfo=UTC)
    return stored
