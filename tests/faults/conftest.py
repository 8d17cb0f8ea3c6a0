"""The fixtures of the worker's tests, with waits short enough to sit through."""

from __future__ import annotations

import pytest

from tests.analyses.worker.conftest import model, start, talks, told

__all__ = ["model", "start", "talks", "told"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is away is asked again at once."""
    monkeypatch.setattr("analyses.runner.patience.AWAY_POLL", 0.02)
    monkeypatch.setattr("tests.analyses.worker.support.LIMIT", 120.0)
