"""Starting in the workspace's order: what is frozen, from every door."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import ApiKey, Role, User, Workspace
from accounts.services import create_api_key
from analyses import services
from analyses.models import AnalysisSession, SessionStatus
from analyses.plan import RunParams
from analyses.runner import ports
from core.errors import Invalid
from projects.models import Dataset, Project
from providers.models import ModelDeployment, Provider
from providers.services.routes import set_route
from templates_app.models import TemplateVersion
from tests.analyses.support import deployment


@pytest.fixture
def models(workspace: Workspace) -> list[ModelDeployment]:
    made = [deployment(workspace, name=f"Home {number}") for number in range(3)]
    return [*made, deployment(workspace, name="Vectors", embeds=True)]


def routes_of(session: AnalysisSession) -> dict[str, Any]:
    session.refresh_from_db()
    return RunParams.model_validate(session.params).routes


def test_the_order_is_frozen_and_a_later_change_is_for_later_analyses(
    start: Callable[..., AnalysisSession],
    models: list[ModelDeployment],
    owner: User,
    workspace: Workspace,
) -> None:
    set_route(
        actor=owner,
        workspace=workspace,
        purpose="facets",
        strategy="weighted",
        targets=[(models[1], 3), (models[0], 1)],
        semantic="shadow",
        cache_days=2,
    )
    set_route(
        actor=owner,
        workspace=workspace,
        purpose="names",
        strategy="priority",
        targets=[(models[2], 1)],
    )
    session = start(by_route=True, local_last=True)
    assert (session.chat, session.embedding, session.fallback) == (models[1], models[3], None)
    frozen = routes_of(session)
    assert set(frozen) == {"facets", "names", "hierarchy", "privacy", "embeddings"}
    facets = frozen["facets"]
    assert facets.targets == [(models[1].pk, 3), (models[0].pk, 1)]
    assert (facets.strategy, facets.semantic, facets.max_age) == ("weighted", "shadow", 172_800.0)
    assert {purpose for purpose, route in frozen.items() if route.local_last} == {
        "names",
        "hierarchy",
        "privacy",
    }
    set_route(
        actor=owner,
        workspace=workspace,
        purpose="facets",
        strategy="priority",
        targets=[(models[2], 1)],
    )
    assert routes_of(session) == frozen
    assert routes_of(start(by_route=True))["facets"].targets == [(models[2].pk, 1)]


def test_one_named_model_is_asked_alone(
    start: Callable[..., AnalysisSession], models: list[ModelDeployment]
) -> None:
    session = start(chat=models[0])
    assert routes_of(session) == {}
    made = ports.build(session, lambda: False)
    assert [target.id for target in made.targets] == [str(models[0].pk)]


def test_an_order_without_a_model_and_a_model_beside_it_are_refused(
    start: Callable[..., AnalysisSession], models: list[ModelDeployment]
) -> None:
    with pytest.raises(Invalid):
        start(by_route=True, chat=models[0])
    Provider.objects.update(enabled=False)
    with pytest.raises(Invalid):
        start(by_route=True)
    assert not AnalysisSession.objects.exists()


def test_a_model_chosen_later_replaces_the_order_of_its_sort_alone(
    start: Callable[..., AnalysisSession], models: list[ModelDeployment], analyst: User
) -> None:
    session = start(by_route=True)
    services.pause(actor=analyst, session=session)
    services.change_providers(actor=analyst, session=session, chat=models[2])
    assert set(routes_of(session)) == {"embeddings"}
    services.change_providers(actor=analyst, session=session, embedding=None)
    assert routes_of(session) == {}


def test_the_form_and_the_api_start_the_same(
    models: list[ModelDeployment],
    dataset: Dataset,
    project: Project,
    version: TemplateVersion,
    analyst: User,
    workspace: Workspace,
) -> None:
    _, secret = create_api_key(actor=analyst, workspace=workspace, name="k", role=Role.ANALYST)
    program = Client(headers={"authorization": f"Bearer {secret}"})
    url = f"/api/v1/projects/{project.slug}/sessions"
    body = {
        "dataset": dataset.number,
        "template": version.template.key,
        "by_route": True,
        "local_last": True,
    }
    answer = program.post(url, json.dumps(body), content_type="application/json")
    assert answer.status_code == 202, answer.content
    by_api = AnalysisSession.objects.get()
    key = ApiKey.objects.get()
    assert by_api.params["key"] == key.pk
    scope = ports.build(by_api, lambda: False).chat._scope  # type: ignore[attr-defined]
    assert (scope.user, scope.key) == (analyst.pk, key.pk)
    browser = Client()
    browser.force_login(analyst)
    page = reverse("analyses:new", args=[project.slug])
    shown = browser.get(page).content.decode()
    assert shown.index('name="reader" value="route"') < shown.index('name="reader" value=""')
    given = {
        "dataset": dataset.pk,
        "version": version.pk,
        "reader": "route",
        "local_last": "on",
        "fallback": models[1].pk,
    }
    looked = browser.post(page, {**given, "look": "1"}).content.decode()
    assert "local_last" in looked
    answer = browser.post(page, given)
    assert answer.status_code == 302, answer.content.decode()[-2000:]
    by_form = AnalysisSession.objects.exclude(pk=by_api.pk).get()
    assert routes_of(by_form) == routes_of(by_api)
    assert (by_form.chat, by_form.embedding) == (by_api.chat, by_api.embedding)
    assert by_form.params["key"] is None
    asked = f"/api/v1/projects/{project.slug}/estimate?dataset={dataset.number}"
    asked += f"&template={version.template.key}&by_route=true"
    assert program.get(asked).json()["stages"]


def test_a_page_without_models_offers_no_order(
    dataset: Dataset, project: Project, version: TemplateVersion, analyst: User
) -> None:
    browser = Client()
    browser.force_login(analyst)
    page = browser.get(reverse("analyses:new", args=[project.slug])).content.decode()
    assert 'value="route"' not in page
    refused = browser.post(
        reverse("analyses:new", args=[project.slug]),
        {"dataset": dataset.pk, "version": version.pk, "reader": "route"},
    )
    assert refused.status_code == 422
    assert not AnalysisSession.objects.exclude(status=SessionStatus.FAILED).exists()
