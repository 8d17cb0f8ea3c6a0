"""Small helpers for the tests of analyses."""

from __future__ import annotations

from typing import Any

from accounts.models import Workspace
from analyses.models import (
    AnalysisSession,
    Batch,
)
from analyses.services.sessions import claimable
from core import work
from core.events import since
from providers.models import ModelDeployment, Provider, ProviderKind

ME = work.owner_name()


def deployment(workspace: Workspace, **fields: Any) -> ModelDeployment:
    provider = Provider.objects.create(
        workspace=workspace,
        name=fields.pop("name", "Scripted"),
        kind=ProviderKind.SCRIPTED,
        enabled=fields.pop("enabled", True),
        concurrency=9,
    )
    return ModelDeployment.objects.create(provider=provider, model="m", **fields)


def claim(session: AnalysisSession, **only: Any) -> Batch:
    batch = work.claim(claimable().filter(session=session, **only).order_by("pk"), owner=ME)
    assert batch is not None
    return batch


def kinds(session: AnalysisSession) -> list[str]:
    return [row["kind"] for row in since(session.topic, 0)]


def statuses(session: AnalysisSession) -> list[str]:
    return [row["payload"]["status"] for row in since(session.topic, 0) if row["kind"] == "status"]
