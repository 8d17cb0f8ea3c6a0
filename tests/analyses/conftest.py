"""A finished and a half-way analysis of 200 conversations, and how to start one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from accounts.models import User
from analyses import services
from analyses.models import AnalysisSession
from projects import runner
from projects.models import Dataset, Job, Project
from projects.services.jobs import start_job
from templates_app.models import TemplateVersion
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


@pytest.fixture
def version(db: None) -> TemplateVersion:
    return builders.template()


@pytest.fixture
def start(
    project: Project, dataset: Dataset, version: TemplateVersion, analyst: User
) -> Callable[..., AnalysisSession]:
    """``start(**changes)``: an analysis of the small data set."""

    def begin(**changes: Any) -> AnalysisSession:
        values: dict[str, Any] = {
            "actor": analyst,
            "project": project,
            "dataset": dataset,
            "template_version": version,
            **changes,
        }
        return services.start_session(**values)

    return begin


@pytest.fixture
def do(project: Project, analyst: User) -> Callable[..., Job]:
    """``do(kind, …)``: a job, done."""

    def go(kind: str, **wish: Any) -> Job:
        wish.setdefault("actor", analyst)
        if "ids" not in wish:
            wish.setdefault("matching", {})
        job = start_job(project=project, kind=kind, **wish)
        assert runner.run_job(job.pk)
        return Job.objects.get(pk=job.pk)

    return go
