"""What the queue may call in projects."""

from __future__ import annotations

from projects.runner import run_import as run


def run_import(record_id: int, *ignored: object) -> None:
    """Read one uploaded file, unless somebody else does."""
    run(record_id)
