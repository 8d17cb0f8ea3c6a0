"""The estimate, the limit and the fallback through the API."""

from __future__ import annotations

from decimal import Decimal
from uuid import uuid4

import pytest
from django.test import Client

from accounts.models import Role, User, Workspace
from accounts.services import create_api_key
from analyses.models import AnalysisSession
from projects.models import Dataset, Project
from providers.models import ModelDeployment, Provider, ProviderKind, SpendLimit
from tests.analyses import builders
from tests.analyses.test_api import post, problem


@pytest.fixture
def program(analyst: User, workspace: Workspace) -> Client:
    _, secret = create_api_key(actor=analyst, workspace=workspace, name="k", role=Role.ANALYST)
    return Client(headers={"authorization": f"Bearer {secret}"}, enforce_csrf_checks=True)


def test_estimate_by_stage(program: Client, project: Project, dataset: Dataset) -> None:
    builders.template()
    provider = Provider.objects.create(
        workspace=project.workspace, name="Acme", kind=ProviderKind.OPENAI
    )
    ModelDeployment.objects.create(provider=provider, model="small", price_in=1, price_out=2)
    address = f"/api/v1/projects/{project.slug}/estimate"
    found = program.get(address, {"dataset": 1, "provider": provider.uid, "limit": 6}).json()
    assert (found["conversations"], found["sampled"]) == (6, 6)
    assert [row["key"] for row in found["stages"]] == ["facets", "names", "hierarchy", "privacy"]
    low, likely, high = (float(end) for end in found["cost"])
    assert 0 < low <= likely <= high
    local = program.get(address, {"dataset": 1}).json()
    assert (local["stages"], [float(end) for end in local["cost"]]) == ([], [0, 0, 0])
    problem(program.get(address, {"dataset": 77}), 422)


def test_start_with_a_limit_and_a_fallback(program: Client, dataset: Dataset) -> None:
    builders.template()
    base = f"/api/v1/projects/{dataset.project.slug}/sessions"
    ids = []
    for name in ("Acme", "Other"):
        provider = Provider.objects.create(
            workspace=dataset.project.workspace, name=name, kind=ProviderKind.SCRIPTED
        )
        ModelDeployment.objects.create(provider=provider, model="m")
        ids.append(str(provider.uid))
    body = {"dataset": 1, "provider": ids[0], "fallback": ids[1], "spend_limit": "2.50"}
    answer = post(program, base, {**body, "limit": 4, "sample": "spread"})
    assert answer.status_code == 202, answer.content
    assert answer.json()["fallback"] == ids[1]
    session = AnalysisSession.objects.get()
    assert (session.total, session.params["spread_over"]) == (4, 12)
    assert SpendLimit.objects.get().amount == Decimal("2.50")
    problem(post(program, base, {**body, "fallback": str(uuid4())}), 422)
    problem(post(program, base, {**body, "spend_limit": "0"}), 422)
