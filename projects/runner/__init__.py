"""Worker-time shells of imports and jobs."""

from projects.runner.imports import ensure_sample, run_import
from projects.runner.jobs import run_job

__all__ = ["ensure_sample", "run_import", "run_job"]
