"""A throw-away installation for benchmarks: its own data folder, the real server and workers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def prepare(folder: str) -> None:
    """Point this process and its children at ``folder`` and make the tables."""
    os.environ |= {
        "OPENCLIO_DATA_DIR": folder,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "SECRET_KEY": "b" * 40,
    }
    os.environ.pop("DATABASE_URL", None)
    for arguments in (("migrate", "--verbosity=0"), ("warm",)):
        manage(*arguments)
    import django

    django.setup()


def manage(*arguments: str) -> None:
    """Run one management command to its end."""
    command = [sys.executable, "manage.py", *arguments]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def serve(workers: int = 2) -> subprocess.Popen[bytes]:
    """Start ``manage.py serve`` on a free port; its words go to ``serve.log``."""
    log = (Path(os.environ["OPENCLIO_DATA_DIR"]) / "serve.log").open("w")
    return subprocess.Popen(
        [sys.executable, "manage.py", "serve", f"--port={_free_port()}", f"--workers={workers}"],
        cwd=ROOT,
        stdout=log,
        stderr=subprocess.STDOUT,
    )


def end(server: subprocess.Popen[bytes]) -> None:
    """Stop what :func:`serve` started."""
    server.terminate()
    server.wait(20)


def owner_and_project() -> tuple[Any, Any]:
    """An owner and an empty project, with the shipped templates loaded."""
    from accounts.models import Membership, Role, User
    from accounts.services import ensure_workspace
    from projects.models import Project
    from templates_app.services import ensure_shipped

    ensure_shipped()
    workspace = ensure_workspace()
    actor = User.objects.create_user("bench@example.org", "a long enough password", name="Bench")
    Membership.objects.create(workspace=workspace, user=actor, role=Role.OWNER)
    project = Project.objects.create(workspace=workspace, name="Bench", slug="bench")
    return actor, project


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
