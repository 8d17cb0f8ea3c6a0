"""Changes to projects, their data and their jobs. Every door calls these."""

from projects.services.imports import (
    RUN_IMPORT,
    UPLOAD_LIMIT,
    create_project,
    free_slug,
    record_opening,
    set_aside,
    stored,
    upload,
    uploads,
)
from projects.services.ticking import tick

__all__ = [
    "RUN_IMPORT",
    "UPLOAD_LIMIT",
    "create_project",
    "free_slug",
    "record_opening",
    "set_aside",
    "stored",
    "tick",
    "upload",
    "uploads",
]
