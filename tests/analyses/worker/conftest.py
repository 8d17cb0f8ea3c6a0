"""Conversations, a scripted model and how to start an analysis of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from accounts.models import User
from analyses import services
from analyses.models import (
    AnalysisSession,
)
from projects.models import Conversation, Dataset, Project
from providers.models import ModelDeployment, Provider, ProviderKind
from tests.analyses import builders
from tests.analyses.worker.support import WISHES, Told


@pytest.fixture
def talks(project: Project, make_dataset: Callable[..., Dataset]) -> Callable[..., Dataset]:
    """``talks(size)``: conversations about five different wishes."""

    def make(size: int, **how: Any) -> Dataset:
        dataset = make_dataset(project, size=size, **how)
        rows = list(dataset.conversations.all())
        for row in rows:
            wish = WISHES[row.position % len(WISHES)]
            row.messages = [
                {"role": "user", "content": f"Hello, I want to {wish}. My case is {row.position}."},
                {"role": "assistant", "content": "I have done that for you."},
                {"role": "user", "content": "Thank you, that works."},
            ]
        Conversation.objects.bulk_update(rows, ["messages"])
        return dataset

    return make


@pytest.fixture
def start(project: Project, analyst: User) -> Callable[..., AnalysisSession]:
    def begin(dataset: Dataset, **changes: Any) -> AnalysisSession:
        return services.start_session(
            actor=analyst,
            project=project,
            dataset=dataset,
            template_version=builders.template(),
            wake=False,
            **changes,
        )

    return begin


@pytest.fixture
def model(project: Project, settings: Any) -> ModelDeployment:
    provider = Provider.objects.create(
        workspace=project.workspace,
        name="Scripted",
        kind=ProviderKind.SCRIPTED,
        concurrency=4,
        first_byte_timeout=1.0,
        total_timeout=5.0,
    )
    return ModelDeployment.objects.create(
        provider=provider, model="scripted-1", price_in="1.0", price_out="2.0"
    )


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(monkeypatch)
