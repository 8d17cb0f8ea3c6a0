"""An analysis with a route for each purpose: who is asked, and what is never mixed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from analyses import services
from analyses.models import AnalysisSession, ArtifactKind, SessionStatus
from analyses.pipeline.local.engine import MODEL_LABEL
from analyses.plan import FrozenRoute, RunParams
from analyses.runner import ports
from analyses.runner.claims import session_of
from projects.models import Dataset, Project
from providers.gateway.errors import CallError, ErrorClass, Fault
from providers.gateway.types import Deployment
from providers.models import LlmCall, ModelDeployment, Provider, ProviderKind
from tests.analyses.worker.support import Told, check_books, run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def other(project: Project) -> Callable[..., ModelDeployment]:
    """``other(model)``: one more model, at a scripted provider of its own."""

    def make(model: str, *, embeds: bool = False) -> ModelDeployment:
        provider = Provider.objects.create(
            workspace=project.workspace,
            name=f"Home of {model}",
            kind=ProviderKind.SCRIPTED,
            concurrency=4,
            first_byte_timeout=1.0,
            total_timeout=5.0,
        )
        return ModelDeployment.objects.create(
            provider=provider, model=model, embeds=embeds, price_in="1.0", price_out="2.0"
        )

    return make


def route(*models: ModelDeployment, **how: Any) -> dict[str, Any]:
    return FrozenRoute(targets=[(model.pk, 1) for model in models], **how).model_dump(mode="json")


def refuse(told: Told, model: str, *, after: int = 0) -> None:
    """The key of one model is refused from its request number ``after`` on."""
    counts = {"seen": 0}

    def check(deployment: Deployment) -> None:
        if model in (deployment.model, deployment.embedding_model):
            counts["seen"] += 1
            if counts["seen"] > after:
                raise Fault(ErrorClass.AUTH, "HTTP 401", status=401)

    chat, embed = told.client.chat, told.client.embed

    async def asked(deployment: Deployment, wire: Any) -> Any:
        check(deployment)
        return await chat(deployment, wire)

    async def embedded(deployment: Deployment, texts: Sequence[str], **how: Any) -> Any:
        check(deployment)
        return await embed(deployment, texts, **how)

    told.client.chat = asked  # type: ignore[method-assign]
    told.client.embed = embedded  # type: ignore[method-assign]


def asked(session: AnalysisSession, purpose: str) -> set[str]:
    calls = LlmCall.objects.filter(analysis_id=session.pk, purpose=purpose, state="ok")
    return set(calls.values_list("model", flat=True))


def test_every_purpose_is_asked_of_its_own_models(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    other: Callable[..., ModelDeployment],
    told: Told,
    analyst: User,
) -> None:
    writer, auditor = other("writer"), other("auditor")
    routes = {"facets": route(model), "names": route(writer), "privacy": route(auditor)}
    session = run(start(talks(40), chat=model, params={"routes": routes}))
    assert session.status == SessionStatus.COMPLETED, session.detail
    check_books(session)
    assert asked(session, "facets") == asked(session, "hierarchy") == {"scripted-1"}
    assert asked(session, "names") == {"writer"}
    assert asked(session, "privacy") == {"auditor"}
    calls = LlmCall.objects.filter(analysis_id=session.pk)
    assert set(calls.values_list("user_id", "key_id")) == {(analyst.pk, None)}


def test_the_local_engine_names_when_no_model_of_the_route_answers(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    other: Callable[..., ModelDeployment],
    told: Told,
) -> None:
    refuse(told, "gone")
    gone = route(other("gone"), local_last=True)
    routes = {"facets": route(model), "names": gone, "hierarchy": gone, "privacy": gone}
    session = run(start(talks(40), chat=model, params={"routes": routes}))
    assert session.status == SessionStatus.COMPLETED, session.detail
    assert asked(session, "facets") == {"scripted-1"}
    assert not asked(session, "names")
    leaves = session.clusters.filter(provisional=False, leaf__isnull=False)
    assert set(leaves.values_list("model", flat=True)) == {MODEL_LABEL}
    assert any("local engine" in text for text in session.warnings)


def test_conversations_are_never_left_to_the_local_engine_by_a_route(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    other: Callable[..., ModelDeployment],
    told: Told,
) -> None:
    refuse(told, "gone", after=5)
    gone = other("gone")
    session = run(
        start(talks(20), chat=gone, params={"routes": {"facets": route(gone, local_last=True)}})
    )
    assert (session.status, session.reason) == (SessionStatus.BLOCKED, "key")
    assert set(session.items.exclude(model="").values_list("model", flat=True)) <= {"gone"}


def test_all_vectors_come_from_the_model_that_made_the_first(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    other: Callable[..., ModelDeployment],
    told: Told,
) -> None:
    first, second = other("vectors-a", embeds=True), other("vectors-b", embeds=True)
    refuse(told, "vectors-a")
    routes = {"facets": route(model), "embeddings": route(first, second)}
    session = start(talks(40), chat=model, embedding=first, params={"routes": routes})
    session = run(session)
    assert session.status == SessionStatus.COMPLETED, session.detail
    assert asked(session, "embeddings") <= {"vectors-b"}
    assert session.embedding == second
    kept = RunParams.model_validate(session.params).routes["embeddings"]
    assert kept.targets == [(second.pk, 1)]
    assert session.artifacts.filter(kind=ArtifactKind.VECTORS).exists()


def test_a_model_switched_off_later_is_left_out_while_another_stays(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    other: Callable[..., ModelDeployment],
    told: Told,
) -> None:
    second = other("second")
    routes = {"facets": route(model, second)}
    session = start(talks(12), chat=model, params={"routes": routes})
    Provider.objects.filter(pk=model.provider_id).update(enabled=False)
    batch = session.batches.first()
    assert batch is not None
    made = ports.build(session_of(batch), lambda: False)
    found = {target.id for target in made.targets}
    assert found == {str(second.pk), str(model.pk)}  # naming still has the analysis's own model
    session = run(session)
    assert asked(session, "facets") == {"second"}


def test_an_analysis_parks_as_long_as_the_gateway_says_and_goes_on_alone(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
    analyst_client: Client,
) -> None:
    from providers.gateway.gateway import Gateway

    chat = Gateway.chat

    async def resting(*args: Any) -> Any:
        raise CallError(ErrorClass.SERVER, "Scripted: rests.", fatal=True, retry_after=40.0)

    monkeypatch.setattr(Gateway, "chat", resting)
    before = timezone.now()
    session = run(start(talks(12), chat=model))
    assert (session.status, session.reason) == (SessionStatus.BLOCKED, "provider")
    assert session.retry_at is not None
    assert 40 <= (session.retry_at - before).total_seconds() < 60
    page = analyst_client.get(f"/p/{session.project.slug}/analyses/{session.number}/live/")
    assert (
        f"Tried again at {timezone.localtime(session.retry_at):%H:%M:%S}" in page.content.decode()
    )
    assert set(session.batches.values_list("attempt", flat=True)) <= {0, 1}
    monkeypatch.setattr(Gateway, "chat", chat)
    services.tick()
    session.refresh_from_db()
    assert session.status == SessionStatus.BLOCKED  # not before its time
    AnalysisSession.objects.filter(pk=session.pk).update(retry_at=timezone.now())
    services.tick()
    session = run(session)
    assert session.status == SessionStatus.COMPLETED, session.detail
    check_books(session)
