"""An analysis half-way, read by a provider, and the ways to change and ask it."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from accounts.models import Workspace
from analyses.models import AnalysisSession, BlockReason, SessionStatus
from analyses.selectors import notices
from providers.models import (
    ModelDeployment,
    Period,
    Provider,
    ProviderKind,
    SpendBook,
    SpendLimit,
)


def at(session: AnalysisSession, name: str, *args: object) -> str:
    return reverse(f"analyses:{name}", args=[session.project.slug, session.number, *args])


def change(session: AnalysisSession, **values: Any) -> None:
    AnalysisSession.objects.filter(pk=session.pk).update(**values)
    session.refresh_from_db()


@pytest.fixture
def paid(going: AnalysisSession, workspace: Workspace) -> AnalysisSession:
    """Half-way, read by a provider."""
    provider = Provider.objects.create(workspace=workspace, name="Acme", kind=ProviderKind.OPENAI)
    going.chat = ModelDeployment.objects.create(provider=provider, model="small")
    going.save()
    return going


def spend(session: AnalysisSession, amount: str, spent: str, doubt: str = "0") -> None:
    scope = f"analysis:{session.pk}"
    SpendLimit.objects.create(
        workspace=session.project.workspace, scope=scope, period=Period.ALL, amount=amount
    )
    SpendBook.objects.create(scope=scope, key="all", spent=spent, doubt=doubt)


STATES = [(status, "") for status in SessionStatus.values if status != "blocked"] + [
    ("blocked", reason) for reason in BlockReason.values
]


def told(session: AnalysisSession) -> str:
    notice = notices.notice_of(session)
    assert notice is not None
    return f"{notice.title} {notice.text}"
