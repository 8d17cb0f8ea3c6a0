"""What the queue may call in projects."""

from __future__ import annotations

from projects import runner


def run_import(record_id: int, *ignored: object) -> None:
    """Read one uploaded file, unless somebody else does."""
    runner.run_import(record_id)


def run_job(job_id: int, *ignored: object) -> None:
    """Go on with one job, unless somebody else does."""
    runner.run_job(job_id)
