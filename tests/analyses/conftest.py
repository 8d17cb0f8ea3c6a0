"""A finished and a half-way analysis of 200 conversations."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from accounts.models import User
from analyses.models import AnalysisSession
from projects.models import Dataset, Project
from tests.analyses import builders


@pytest.fixture
def larger(project: Project, make_dataset: Callable[..., Dataset]) -> Dataset:
    return make_dataset(project, size=200, name="Larger")


@pytest.fixture
def done(larger: Dataset, analyst: User) -> AnalysisSession:
    """Complete, with the last base cluster withheld."""
    return builders.finished(larger, analyst)


@pytest.fixture
def going(larger: Dataset, analyst: User) -> AnalysisSession:
    """Running, 62 % read, with a provisional picture."""
    return builders.halfway(larger, analyst)
