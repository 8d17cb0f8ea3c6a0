"""Typed readers of environment variables.

A value that is present and wrong stops the program with one sentence that names the variable,
shows what was found (never for a secret) and says what is expected. A variable that is present
and empty counts as absent, because that is what `NAME=` in a service file usually means.
"""

import base64
import binascii
import os
import secrets
import sys
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off"})

# Values that people copy from examples. A signing key that is public lets anyone forge sessions
# and, because queued tasks are signed pickles, run code.
PLACEHOLDERS = ("changeme", "change-me", "change_me", "django-insecure", "your-secret", "replace")
SECRET_KEY_LENGTH = 32

# What PostgreSQL is told for each connection. Waiting for a lock longer than five seconds means
# that something holds a transaction open across slow work, and an idle transaction blocks vacuum.
POSTGRES_SETTINGS = {"lock_timeout": "5s", "idle_in_transaction_session_timeout": "30s"}


def load_file(path: Path, into: MutableMapping[str, str] | None = None) -> None:
    """Add the `NAME=value` lines of `path` to the environment; what is already set wins.

    Blank lines and lines that begin with `#` are skipped, one pair of quotes is removed.
    Raises ImproperlyConfigured with the line number for a line that is not an assignment.
    """
    environment = os.environ if into is None else into
    if not path.is_file():
        return
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        stripped = line.strip().removeprefix("export ")
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.partition("=")
        if not equals or not name.strip().isidentifier():
            raise ImproperlyConfigured(f"{path.name}, line {number}: expected NAME=value.")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        environment.setdefault(name.strip(), value)


def text(name: str, default: str = "") -> str:
    """The value without surrounding white space, or `default` when absent or empty."""
    return os.environ.get(name, "").strip() or default


def flag(name: str, *, default: bool) -> bool:
    """A yes or no: 1/0, true/false, yes/no, on/off in any case."""
    found = text(name).lower()
    if not found:
        return default
    if found in TRUE:
        return True
    if found in FALSE:
        return False
    raise ImproperlyConfigured(f"{name} is {found!r}; expected one of 1, 0, true, false, yes, no.")


def integer(name: str, default: int, *, low: int, high: int) -> int:
    """A whole number between `low` and `high`, both allowed."""
    found = text(name)
    if not found:
        return default
    try:
        number = int(found)
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise ImproperlyConfigured(
            f"{name} is {found!r}; expected a whole number from {low} to {high}."
        )
    return number


def optional_integer(name: str, *, low: int, high: int) -> int | None:
    """A whole number between `low` and `high`, both allowed; `None` when absent."""
    return integer(name, low, low=low, high=high) if text(name) else None


def choice(name: str, default: str, allowed: Iterable[str]) -> str:
    """One of a closed set of words, compared without regard to case."""
    known = {word.lower(): word for word in allowed}
    found = text(name, default)
    if found.lower() not in known:
        raise ImproperlyConfigured(f"{name} is {found!r}; expected one of {', '.join(known)}.")
    return known[found.lower()]


def words(name: str, default: Iterable[str] = ()) -> list[str]:
    """A list separated by commas, without empty entries."""
    return [word for part in text(name).split(",") if (word := part.strip())] or list(default)


def directory(name: str, default: Path) -> Path:
    """An absolute path; the directory need not exist yet, but must not be a file."""
    path = Path(text(name, str(default))).expanduser().resolve()
    if path.exists() and not path.is_dir():
        raise ImproperlyConfigured(f"{name} is {str(path)!r}, which is a file, not a directory.")
    return path


def address(name: str, schemes: Iterable[str]) -> str:
    """A URL with one of `schemes` and a host, or the empty string when absent."""
    found = text(name)
    if not found:
        return ""
    allowed = sorted(schemes)
    parts = urlsplit(found)
    if parts.scheme not in allowed or not (parts.hostname or parts.path.strip("/")):
        # The value may hold a password, so it is not repeated.
        expected = " or ".join(f"{scheme}://" for scheme in allowed)
        raise ImproperlyConfigured(f"{name} is not an address that begins with {expected}.")
    return found


def origins(name: str) -> list[str]:
    """Origins such as `https://clio.example.org`, separated by commas."""
    found = words(name)
    for origin in found:
        parts = urlsplit(origin)
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path:
            raise ImproperlyConfigured(
                f"{name} holds {origin!r}; expected scheme and host, as in https://example.org."
            )
    return found


def database(name: str, *, default_file: Path, keep_seconds: int = 0) -> dict[str, Any]:
    """Django's settings for one database, from a URL.

    `postgres://user:password@host:port/name?option=value` (also `postgresql://`; the host may be
    a percent-encoded socket directory, or the query's `host`), or `sqlite:///relative` and
    `sqlite:////absolute/file`. Absent: SQLite at `default_file`. `keep_seconds` is how long a
    PostgreSQL connection is kept between uses.
    """
    url = text(name)
    if not url:
        return sqlite(default_file)
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return sqlite(_sqlite_file(name, parts.netloc, unquote(parts.path)))
    if parts.scheme not in {"postgres", "postgresql"}:
        raise ImproperlyConfigured(
            f"{name} begins with {parts.scheme!r}; expected postgres:// or sqlite:///."
        )
    return _postgres(name, url, keep_seconds)


def sqlite(file: Path) -> dict[str, Any]:
    """SQLite for several processes at once.

    IMMEDIATE takes the write lock when a transaction begins, so that it waits its turn instead of
    failing at its first write with "database is locked" (SQLite manual, "Transaction").
    synchronous FULL keeps a committed answer that was paid for through a power cut.
    """
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(file),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": (
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-20000;"
            ),
        },
    }


def _sqlite_file(name: str, host: str, path: str) -> Path:
    """The file that a `sqlite:` address means; three slashes are relative, four absolute."""
    relative = path.removeprefix("/")
    if host or not relative or relative == ":memory:":
        raise ImproperlyConfigured(
            f"{name}: SQLite needs a file, as in sqlite:////var/lib/openclio/db.sqlite3; "
            "several processes share it, so it cannot be in memory."
        )
    return Path(relative).resolve()


def _postgres(name: str, url: str, keep_seconds: int) -> dict[str, Any]:
    """PostgreSQL through psycopg 3; query parameters become libpq options."""
    parts = urlsplit(url)
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    database_name = unquote(parts.path.removeprefix("/"))
    try:
        port = parts.port
    except ValueError:
        raise ImproperlyConfigured(f"{name} has a port that is not a number.") from None
    if not database_name:
        raise ImproperlyConfigured(f"{name} names no database: postgres://user@host/NAME.")
    given = f"{options.pop('options', '')} "
    server = " ".join(f"-c {key}={value}" for key, value in POSTGRES_SETTINGS.items())
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": database_name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        # libpq takes a socket directory as the host; urlsplit lower-cases host names only.
        "HOST": options.pop("host", "") or unquote(parts.hostname or ""),
        "PORT": str(port or options.pop("port", "")),
        "CONN_MAX_AGE": keep_seconds,
        "CONN_HEALTH_CHECKS": True,
        # What the address says comes last and so wins. A server that does not even answer is given
        # up after five seconds, before a lease runs out.
        "OPTIONS": {"connect_timeout": "5", **options, "options": f"{server} {given}".strip()},
    }


def secret_key(name: str, file: Path) -> str:
    """The signing key: from the environment, else made once and kept in `file` (mode 0600)."""
    key = text(name)
    if not key:
        return _kept(file, lambda: secrets.token_urlsafe(64))
    if any(word in key.lower() for word in PLACEHOLDERS) or len(key) < SECRET_KEY_LENGTH:
        raise ImproperlyConfigured(
            f"{name} is a placeholder or shorter than {SECRET_KEY_LENGTH} characters. "
            "Make one with `openssl rand -hex 32`, or leave it out: one is then made and kept "
            "in the data directory."
        )
    return key


def key_ring(name: str, file: Path) -> list[str]:
    """Fernet keys, newest first: comma-separated in the environment, else made once in `file`.

    A key is 32 bytes in URL-safe base64 (https://github.com/fernet/spec). The first encrypts,
    all of them decrypt, so a key is changed by putting a new one in front.
    """
    keys = words(name) or _kept(file, _fernet_key).split(",")
    for position, key in enumerate(keys, start=1):
        try:
            size = len(base64.urlsafe_b64decode(key.encode()))
        except (binascii.Error, ValueError):
            size = 0
        if size != 32:
            raise ImproperlyConfigured(
                f"{name}: key {position} is not 32 bytes in URL-safe base64. Make one with "
                "`openssl rand -base64 32 | tr '+/' '-_'`."
            )
    return keys


def keep_apart(signing: str, ring: Sequence[str]) -> None:
    """Refuse one key for two uses: whoever learned the signing key would read stored secrets."""
    if signing in ring:
        raise ImproperlyConfigured(
            "SECRET_KEY is also one of OPENCLIO_ENCRYPTION_KEYS. Each needs a key of its own: "
            "make another with `openssl rand -base64 32 | tr '+/' '-_'`."
        )


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def _kept(file: Path, make: Callable[[], str]) -> str:
    """The content of `file`, which is made at first use.

    Several processes may start at once: each writes its own file and links it to the name, and
    the link of all but the first fails, so that all read the same value.
    """
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = file.with_name(f".{file.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(make())
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(draft, file)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    value = file.read_text("utf-8").strip()
    if not value:
        raise ImproperlyConfigured(f"{file} is empty. Restore it from a backup, or remove it.")
    return value


def compiled_code(fallback: Path) -> Path:
    """Where compiled code is kept: in the virtual environment, or ``fallback`` where that is not
    ours to write (``NUMBA_CACHE_DIR`` names another place)."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    if named:
        return Path(named)
    inside = Path(sys.prefix)
    if sys.prefix != sys.base_prefix and os.access(inside, os.W_OK):
        return inside / "var" / "openclio-numba"
    return fallback
