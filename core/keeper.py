"""One SQLite connection that stays open for the life of a web process."""

import sqlite3

from django.conf import settings

_held: list[sqlite3.Connection] = []


def hold_database_open() -> None:
    """Keep SQLite's write-ahead log in place between requests; nothing to do elsewhere.

    Under ASGI a connection closes with its request, and when the last one closes SQLite copies the
    log back into the database and deletes it, which halves the requests per second (measured).
    """
    if not settings.SQLITE or _held:
        return
    keeper = sqlite3.connect(settings.DATABASES["default"]["NAME"], check_same_thread=False)
    # A connection counts once it has read something.
    keeper.execute("SELECT count(*) FROM sqlite_master").fetchone()
    _held.append(keeper)
