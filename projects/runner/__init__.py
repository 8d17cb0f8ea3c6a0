"""Worker-time shells of imports and jobs."""

from projects.runner.imports import ensure_sample, run_import

__all__ = ["ensure_sample", "run_import"]
