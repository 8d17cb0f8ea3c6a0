"""Whether the map's code was compiled on this machine already."""

import json
from importlib.metadata import version
from pathlib import Path

from django.conf import settings

# Compiled code is only good for the versions that made it.
COMPILED_BY = ("numba", "pacmap", "numpy")


def is_warm() -> bool:
    """True when `mark_warm` was called with the versions installed now."""
    try:
        return bool(json.loads(_stamp().read_text("utf-8")) == _versions())
    except (OSError, ValueError):
        return False


def mark_warm() -> None:
    """Remember that the installed versions have compiled what they need."""
    _stamp().write_text(json.dumps(_versions()), "utf-8")


def _stamp() -> Path:
    directory: Path = settings.NUMBA_CACHE_DIR
    return directory / "warmed.json"


def _versions() -> dict[str, str]:
    return {name: version(name) for name in COMPILED_BY}
