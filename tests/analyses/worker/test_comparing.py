"""Another model is compared with the one that read, before it takes over."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.forms import model_to_dict
from django.test import Client

from accounts.models import User
from analyses import export, services
from analyses.models import AnalysisSession, FacetValue, ModelChange, Outcome, SessionStatus
from analyses.selectors.comparisons import comparisons_of, probes_of
from core.errors import Invalid
from core.models import WorkStatus
from projects import runner
from projects.models import Dataset, ItemState, Job, Project
from projects.services.jobs import start_job
from providers.clients.scripted import Act, Scenario, Step
from providers.models import LlmCall, ModelDeployment, Provider, ProviderKind
from tests.analyses.worker.batch_server import AFTER_READING
from tests.analyses.worker.support import Told, run, table

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def other(project: Project) -> ModelDeployment:
    provider = Provider.objects.create(
        workspace=project.workspace,
        name="Second",
        kind=ProviderKind.SCRIPTED,
        concurrency=4,
        first_byte_timeout=1.0,
        total_timeout=5.0,
    )
    return ModelDeployment.objects.create(
        provider=provider, model="scripted-2", price_in="3.0", price_out="4.0"
    )


@pytest.fixture
def read(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
) -> AnalysisSession:
    """Read by the first model. Comparing does not look at what came after reading, so nothing did;
    the analysis only counts as complete."""
    session = run(start(talks(40), chat=model), skip=AFTER_READING)
    assert session.read_count == session.total == 40, session.detail
    AnalysisSession.objects.filter(pk=session.pk).update(status=SessionStatus.COMPLETED)
    session.refresh_from_db()
    return session


def compare(session: AnalysisSession, actor: User, target: ModelDeployment, **how: Any) -> Job:
    job = start_job(
        actor=actor,
        project=session.project,
        kind="compare",
        settings={"analysis": session.number, "chat": target.pk, **how},
        matching={},
    )
    assert runner.run_job(job.pk)
    return Job.objects.get(pk=job.pk)


def results(session: AnalysisSession) -> list[Any]:
    rows = FacetValue.objects.filter(item__session=session).order_by("pk")
    items = session.items.order_by("pk")
    return [*map(model_to_dict, rows), *map(model_to_dict, items)]


def test_a_comparison_measures_and_changes_no_result(
    read: AnalysisSession, other: ModelDeployment, analyst: User, told: Told
) -> None:
    before, asked = results(read), told.requests
    job = compare(read, analyst, other)
    assert (job.status, job.done, job.failed) == (WorkStatus.DONE, 20, 0), job.error
    assert told.requests == asked + 20
    assert results(read) == before
    (found,) = comparisons_of(read)
    assert (found.before, found.after, found.target) == ("scripted-1", "scripted-2", other.pk)
    assert found.done
    assert found.answered == 20
    calls = LlmCall.objects.filter(analysis_id=read.pk, model="scripted-2")
    assert calls.count() == 20
    assert found.cost is not None
    assert abs(sum((c.cost for c in calls if c.cost), Decimal(0)) - found.cost) < Decimal("1e-6")
    for line in found.facets:
        assert line["compared"] <= 20
        if "share" in line:
            assert 0 <= line["low"] <= line["share"] <= line["high"] <= 1
            assert line["high"] - line["low"] > 0.1  # twenty conversations say little
        elif line["compared"]:
            assert 0 <= line["worst"] <= line["mean"] <= 1
    again = compare(read, analyst, other)
    assert told.requests == asked + 20
    assert again.result["facets"] == job.result["facets"]
    assert again.result["cost"] == 0


def test_the_conversations_are_spread_and_always_the_same(read: AnalysisSession) -> None:
    found = probes_of(read, "scripted-1", 10)
    assert found == probes_of(read, "scripted-1", 10)
    places = list(
        read.items.filter(pk__in=[pk for pk, _ in found])
        .order_by("position")
        .values_list("position", flat=True)
    )
    assert [place // 4 for place in places] == list(range(10))
    assert len(probes_of(read, "scripted-1", 200)) == 40


def test_what_cannot_be_compared_is_refused(
    read: AnalysisSession, model: ModelDeployment, other: ModelDeployment, analyst: User
) -> None:
    with pytest.raises(Invalid):
        compare(read, analyst, model)
    with pytest.raises(Invalid):
        compare(read, analyst, other, count=0)
    Provider.objects.filter(pk=other.provider_id).update(enabled=False)
    with pytest.raises(Invalid):
        compare(read, analyst, other)


def test_a_model_that_fails_has_no_report(
    read: AnalysisSession, other: ModelDeployment, analyst: User, told: Told
) -> None:
    told.play(Scenario(mix=(Step(act=Act.UNAUTHORIZED),)))
    job = compare(read, analyst, other, count=5)
    assert (job.done, job.failed) == (0, 5)
    assert all(job.items.filter(state=ItemState.FAILED).values_list("error", flat=True))
    assert not comparisons_of(read)[0].done


def test_the_change_that_follows_is_recorded_with_the_agreement(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    other: ModelDeployment,
    told: Told,
    analyst: User,
    analyst_client: Client,
) -> None:
    told.play(Scenario(opening=(Step(),) * 24 + (Step(act=Act.UNAUTHORIZED),) * 40))
    session = run(start(talks(40), chat=model))
    assert session.status == SessionStatus.BLOCKED
    told.play(Scenario())
    read = session.read_count
    assert read
    job = compare(session, analyst, other, count=5)
    assert job.done == 5
    pages = f"/p/{session.project.slug}/analyses/{session.number}"
    assert "Switch for good" in analyst_client.get(f"{pages}/compare/").content.decode()
    assert analyst_client.post(f"{pages}/providers/", {"chat": other.pk}).status_code == 302
    told_there = analyst_client.get(f"{pages}/compare/").content.decode()
    assert f"took over from {model} after {read} conversations" in told_there
    assert "Compared on 5 conversations before." in told_there
    change = ModelChange.objects.get(session=session)
    assert (change.before, change.after) == (str(model), str(other))
    assert change.position == read
    assert change.agreement["compared"] == 5
    assert change.agreement["facets"] == job.result["facets"]
    session = run(session, skip=AFTER_READING)
    assert session.read_count == session.total, session.detail
    readers = session.items.filter(outcome=Outcome.READ).values_list("model", flat=True)
    assert sorted(set(readers)) == ["scripted-1", "scripted-2"]


def test_a_change_without_a_comparison_says_so(
    read: AnalysisSession, other: ModelDeployment, analyst: User
) -> None:
    AnalysisSession.objects.filter(pk=read.pk).update(status=SessionStatus.PARTIAL)
    services.change_providers(actor=analyst, session=read, chat=other)
    services.change_providers(actor=analyst, session=read, fallback=None)
    change = ModelChange.objects.get(session=read)
    assert change.agreement == {}
    assert change.changed_by == analyst


def test_the_page_and_the_api_tell_the_same(
    read: AnalysisSession,
    other: ModelDeployment,
    analyst_client: Client,
    viewer_client: Client,
    told: Told,
) -> None:
    slug, number = read.project.slug, read.number
    start_at = f"/p/{slug}/jobs/start/"
    form = {
        "kind": "compare",
        "all": "1",
        "s.analysis": number,
        "s.chat": other.pk,
        "s.count": 8,
    }
    asked = told.requests
    confirm = analyst_client.post(start_at, form).content.decode()
    assert "Expected cost: " in confirm
    assert "No result of the analysis changes." in confirm
    assert told.requests == asked
    assert viewer_client.post(start_at, {**form, "confirm": "1"}).status_code == 403
    assert analyst_client.post(start_at, {**form, "confirm": "1"}).status_code == 302
    url = f"/api/v1/projects/{slug}/sessions/{number}/comparisons"
    body = json.dumps({"chat": str(other.provider.uid), "count": 8})
    made = analyst_client.post(url, body, content_type="application/json")
    assert made.status_code == 202, made.content
    refused = viewer_client.post(url, body, content_type="application/json")
    assert refused.status_code == 403
    for job in Job.objects.filter(kind="compare"):
        assert runner.run_job(job.pk)
    first, second = analyst_client.get(url).json()
    assert first["facets"] == second["facets"] != []
    page = viewer_client.get(f"/p/{slug}/analyses/{number}/compare/").content.decode()
    assert "Compare first" not in page
    assert "scripted-2 beside scripted-1" in page
    for line in first["facets"]:
        assert line["label"] in page
    assert "Switch for good" not in page  # the analysis is complete


def test_an_analysis_of_two_models_says_so_everywhere(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    other: ModelDeployment,
    told: Told,
    analyst: User,
    analyst_client: Client,
) -> None:
    told.play(Scenario(opening=(Step(),) * 24 + (Step(act=Act.UNAUTHORIZED),) * 40))
    session = run(start(talks(40), chat=model))
    told.play(Scenario())
    slug, number = session.project.slug, session.number
    dialog = analyst_client.get(f"/p/{slug}/analyses/{number}/providers/").content.decode()
    assert "Finish with the local engine" in dialog
    assert "Compare first" in dialog
    answer = analyst_client.post(f"/p/{slug}/analyses/{number}/providers/", {"chat": "local"})
    assert answer.status_code == 302
    session = run(session)
    assert session.status == SessionStatus.COMPLETED, session.detail
    share = session.items.filter(model="scripted-1").count() / session.read_count
    assert 0 < share < 1
    for page in ("", "live/"):
        html = analyst_client.get(f"/p/{slug}/analyses/{number}/{page}").content.decode()
        assert "Read by two models: " in html
        assert f"{share:.0%}" in html
    figures = export.run_json(session)
    assert figures["mixed"].startswith("Read by two models: ")
    assert figures["model_changes"][0]["after"] == "Local engine"
    models = {row["model"] for row in table(session)}
    assert models == {"scripted-1", "local engine"}
    state = analyst_client.get(f"/api/v1/projects/{slug}/sessions/{number}").json()
    assert {one["model"] for one in state["readers"]} == models
    assert state["changes"][0]["position"] == figures["model_changes"][0]["position"]
