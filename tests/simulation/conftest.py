"""The rows that every simulated installation begins with."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator

import pytest
from django.db import connection

from accounts.models import User
from projects.models import Conversation, Dataset, Project
from providers.models import ModelDeployment, Provider, ProviderKind
from templates_app.models import AnalysisTemplate, FacetDefinition, FacetKind, TemplateVersion
from tests.simulation.stage import Stage

CONVERSATIONS = 6


@pytest.fixture
def stage(
    transactional_db: None,
    project: Project,
    analyst: User,
    make_dataset: Callable[..., Dataset],
) -> Iterator[Stage]:
    """A project with a small data set, of which two conversations ask the same."""
    if connection.vendor != "sqlite":
        pytest.skip("the virtual clock replaces a function of SQLite; PostgreSQL has none like it")
    dataset = make_dataset(project, size=CONVERSATIONS)
    first, last = dataset.conversations.order_by("position")[0:6:5]
    Conversation.objects.filter(pk=last.pk).update(messages=first.messages)
    template = AnalysisTemplate.objects.create(
        workspace=project.workspace, key="short", name="Short"
    )
    version = TemplateVersion.objects.create(template=template, number=1)
    FacetDefinition.objects.create(
        version=version,
        order=0,
        key="request",
        label="Request",
        question="What was wanted?",
        kind=FacetKind.TEXT,
    )
    provider = Provider.objects.create(
        workspace=project.workspace,
        name="Simulated",
        kind=ProviderKind.SCRIPTED,
        concurrency=4,
    )
    chat = ModelDeployment.objects.create(provider=provider, model="m", price_in=100, price_out=200)
    copy = sqlite3.connect(":memory:")
    connection.ensure_connection()
    connection.connection.backup(copy)
    with _in_memory():
        yield Stage(analyst, dataset, version, chat, copy)
    copy.close()


@contextlib.contextmanager
def _in_memory() -> Iterator[None]:
    """Put a database in memory in the place of the file, which is a thousand times slower."""
    name, file = connection.settings_dict["NAME"], connection.connection
    connection.settings_dict["NAME"] = ":memory:"
    connection.connection = None
    connection.connect()
    try:
        yield
    finally:
        connection.connection.close()
        connection.settings_dict["NAME"] = name
        connection.connection = file
