"""The pages answer, show what they should and nothing they should not."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEvent
from analyses.models import AnalysisSession, SessionStatus
from projects.models import Dataset, DatasetStatus, Project
from providers.models import ModelDeployment, Provider, ProviderKind
from tests.analyses import builders


def at(session: AnalysisSession, name: str, *args: object) -> str:
    return reverse(f"analyses:{name}", args=[session.project.slug, session.number, *args])


def text(answer: Any) -> str:
    assert answer.status_code == 200
    return answer.content.decode()


def test_list_shows_state_and_links(viewer_client: Client, done: AnalysisSession) -> None:
    page = text(viewer_client.get(reverse("analyses:list", args=["support"])))
    assert done.name in page
    assert "Complete" in page
    assert "200 of 200" in page
    assert reverse("analyses:new", args=["support"]) not in page, "viewers cannot start one"


@pytest.mark.parametrize("has_data", [False, True])
def test_empty_list_says_how_to_begin(
    analyst_client: Client, project: Project, has_data: bool, request: pytest.FixtureRequest
) -> None:
    if has_data:
        request.getfixturevalue("dataset")
    page = text(analyst_client.get(reverse("analyses:list", args=["support"])))
    assert ("No analysis yet" if has_data else "No conversations yet") in page


def test_summary_of_what_has_not_ended_is_the_live_page(
    viewer_client: Client, going: AnalysisSession
) -> None:
    answer = viewer_client.get(at(going, "summary"))
    assert answer.status_code == 302
    assert answer.headers["Location"] == at(going, "live")


def test_summary_shows_themes_insights_and_report(
    viewer_client: Client, done: AnalysisSession
) -> None:
    page = text(viewer_client.get(at(done, "summary")))
    for theme, _ in builders.THEMES:
        assert theme in page
    assert "rose in the last weeks" in page
    assert "0.81 of 1 over resamples" in page
    assert "1 hidden below 2 conversations" in page
    assert "secret" not in page
    assert "About the last group" not in page


def test_no_page_names_a_withheld_group(viewer_client: Client, done: AnalysisSession) -> None:
    hidden = builders.leaf_count() - 1
    item = done.items.filter(memberships__cluster__key=hidden).first()
    assert item is not None
    pages = [
        at(done, "summary"), at(done, "live"), at(done, "fragments"), at(done, "explore"),
        at(done, "insights"), at(done, "map-clusters"), at(done, "export-clusters"),
        at(done, "conversation", item.position), at(done, "point", item.position),
        f"{at(done, 'explore')}?c=1000003&i={item.position}", at(done, "batches"),
    ]  # fmt: skip
    for url in pages:
        assert "secret" not in text(viewer_client.get(url)).lower(), url
    assert viewer_client.get(at(done, "cluster", hidden)).status_code == 404


def test_map_is_immutable_at_its_version(viewer_client: Client, done: AnalysisSession) -> None:
    plain = viewer_client.get(at(done, "map-data"))
    assert "immutable" not in plain.headers["Cache-Control"]
    version = int.from_bytes(plain.content[12:16], "little")
    cached = viewer_client.get(at(done, "map-data"), {"v": version})
    assert "immutable" in cached.headers["Cache-Control"]
    assert "private" in cached.headers["Cache-Control"]
    assert cached.content == plain.content


def test_card_of_a_dot(viewer_client: Client, done: AnalysisSession) -> None:
    card = json.loads(text(viewer_client.get(at(done, "point", 5))))
    assert card["title"].endswith("case 5")
    assert card["text"] == "English · 2 messages · 1 June 2026"


def test_exports_have_names_and_every_row(viewer_client: Client, done: AnalysisSession) -> None:
    answer = viewer_client.get(at(done, "export-conversations"))
    assert answer.headers["Content-Disposition"] == (
        f'attachment; filename="support-{done.number}-conversations.csv"'
    )
    body = b"".join(answer.streaming_content).decode()
    assert len(body.strip().splitlines()) == 201
    clusters = json.loads(text(viewer_client.get(at(done, "export-clusters"))))
    assert len(clusters) == builders.leaf_count() - 1 + len(builders.THEMES)


# --- Hostile text -------------------------------------------------------------------------------

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\u202e"


def test_text_of_others_is_never_markup(analyst_client: Client, done: AnalysisSession) -> None:
    item = done.items.get(position=0)
    item.title, item.text = HOSTILE, HOSTILE
    item.save()
    item.values.filter(facet__key="summary").update(text=HOSTILE)
    item.conversation.messages = [{"role": HOSTILE, "content": HOSTILE, "ts": HOSTILE}]
    item.conversation.save()
    done.clusters.update(name=HOSTILE[:160], description=HOSTILE)
    done.insights.update(title=HOSTILE, text=HOSTILE)
    done.name = HOSTILE
    done.save()
    pages = [
        at(done, "summary"), at(done, "live"), at(done, "explore"), at(done, "insights"),
        f"{at(done, 'explore')}?c=0&i=0&q=%3Cscript%3E", at(done, "conversation", 0),
        at(done, "cluster", 0), at(done, "batches"), reverse("analyses:list", args=["support"]),
    ]  # fmt: skip
    for url in pages:
        page = text(analyst_client.get(url))
        assert "<script>alert" not in page, url
        assert "<img src=x" not in page, url


# --- Raw text -----------------------------------------------------------------------------------


def redacted(done: AnalysisSession) -> None:
    item = done.items.get(position=2)
    item.conversation.messages = [{"role": "user", "content": "Write to ann@example.org"}]
    item.conversation.save()
    item.spans = [[0, 9, 24, "email"]]
    item.save()


def test_raw_text_is_opened_on_purpose_and_recorded(
    analyst_client: Client, done: AnalysisSession
) -> None:
    redacted(done)
    page = text(analyst_client.get(at(done, "conversation", 2)))
    assert "ann@example.org" not in page
    assert "email removed" in page
    before = AuditEvent.objects.filter(action="conversation.revealed").count()
    answer = analyst_client.post(at(done, "reveal", 2))
    assert "ann@example.org" in text(answer)
    assert "no-store" in answer.headers["Cache-Control"]
    event = AuditEvent.objects.filter(action="conversation.revealed").latest("id")
    assert AuditEvent.objects.filter(action="conversation.revealed").count() == before + 1
    assert event.data == {"analysis": done.pk, "removed": 1}
    assert "ann@" not in json.dumps(event.data)


def test_raw_text_needs_an_analyst_and_a_post(
    viewer_client: Client, analyst_client: Client, done: AnalysisSession
) -> None:
    redacted(done)
    answer = viewer_client.post(at(done, "reveal", 2))
    assert answer.status_code == 403
    assert b"ann@example.org" not in answer.content
    assert analyst_client.get(at(done, "reveal", 2)).status_code == 405
    assert not AuditEvent.objects.filter(action="conversation.revealed").exists()


# --- A new analysis -----------------------------------------------------------------------------


def test_new_offers_the_local_engine_and_every_model(
    analyst_client: Client, dataset: Dataset
) -> None:
    builders.template()
    provider = Provider.objects.create(
        workspace=dataset.project.workspace, name="Acme", kind=ProviderKind.OPENAI
    )
    ModelDeployment.objects.create(provider=provider, model="small", price_in=1, price_out=2)
    off = Provider.objects.create(
        workspace=dataset.project.workspace, name="Off", kind=ProviderKind.OPENAI, enabled=False
    )
    ModelDeployment.objects.create(provider=off, model="unseen")
    page = text(analyst_client.get(reverse("analyses:new", args=["support"]), {"dataset": 1}))
    assert "Local engine" in page
    assert "Costs nothing" in page
    assert "small" in page
    assert "unseen" not in page


def test_new_starts_and_leads_to_the_live_page(analyst_client: Client, dataset: Dataset) -> None:
    version = builders.template()
    answer = analyst_client.post(
        reverse("analyses:new", args=["support"]),
        {"dataset": dataset.pk, "version": version.pk, "reader": "", "limit": "5", "name": "Try"},
    )
    session = AnalysisSession.objects.get(dataset=dataset)
    assert answer.status_code == 302
    assert answer.headers["Location"] == at(session, "live")
    assert (session.name, session.total, session.chat) == ("Try", 5, None)


def test_a_second_click_starts_nothing_more(analyst_client: Client, dataset: Dataset) -> None:
    version = builders.template()
    address = reverse("analyses:new", args=["support"])
    form = analyst_client.get(address).context["form"]
    data = {"dataset": dataset.pk, "version": version.pk, "uid": str(form["uid"].value())}
    answers = [analyst_client.post(address, data) for _ in range(2)]
    assert answers[0].headers["Location"] == answers[1].headers["Location"]
    assert AnalysisSession.objects.count() == 1
    # The same page with other settings, after the back button, is another analysis.
    other = analyst_client.post(address, {**data, "limit": "2"})
    assert other.headers["Location"] != answers[0].headers["Location"]
    assert AnalysisSession.objects.count() == 2


def test_a_form_number_of_somebody_else_leads_nowhere_else(
    analyst_client: Client, owner_client: Client, dataset: Dataset
) -> None:
    version = builders.template()
    address = reverse("analyses:new", args=["support"])
    data = {"dataset": dataset.pk, "version": version.pk, "uid": str(uuid4())}
    first = analyst_client.post(address, data)
    second = owner_client.post(address, data)
    assert first.headers["Location"] != second.headers["Location"]


@pytest.mark.parametrize(
    ("status", "words"),
    [(DatasetStatus.IMPORTING, "is still being read"), (DatasetStatus.FAILED, "holds nothing")],
)
def test_new_says_why_a_data_set_cannot_be_chosen(
    analyst_client: Client, dataset: Dataset, status: str, words: str
) -> None:
    address = reverse("analyses:new", args=["support"])
    assert words not in text(analyst_client.get(address, {"dataset": dataset.number}))
    Dataset.objects.filter(pk=dataset.pk).update(status=status)
    assert words in text(analyst_client.get(address, {"dataset": dataset.number}))
    assert words not in text(analyst_client.get(address, {"dataset": "²"}))


def test_new_refuses_what_belongs_to_others(
    analyst_client: Client, dataset: Dataset, other_project: Project, make_dataset: Any
) -> None:
    version = builders.template()
    foreign = make_dataset(other_project)
    secret = Provider.objects.create(
        workspace=other_project.workspace, name="Theirs", kind=ProviderKind.OPENAI
    )
    model = ModelDeployment.objects.create(provider=secret, model="theirs")
    for data in (
        {"dataset": foreign.pk, "version": version.pk},
        {"dataset": dataset.pk, "version": version.pk, "reader": model.pk},
        {"dataset": dataset.pk, "version": version.pk, "limit": "0"},
    ):
        answer = analyst_client.post(reverse("analyses:new", args=["support"]), data)
        assert answer.status_code == 422
        assert b"Theirs" not in answer.content
    assert not AnalysisSession.objects.exists()


def test_new_without_data_leads_to_data(analyst_client: Client, project: Project) -> None:
    page = text(analyst_client.get(reverse("analyses:new", args=["support"])))
    assert "No conversations yet" in page


# --- Pause, resume, stop ------------------------------------------------------------------------


def test_pause_and_resume(analyst_client: Client, going: AnalysisSession) -> None:
    assert analyst_client.post(at(going, "act", "pause")).status_code == 302
    going.refresh_from_db()
    assert going.desired == "pause"
    assert analyst_client.post(at(going, "act", "resume")).status_code == 302
    going.refresh_from_db()
    assert (going.desired, going.status) == ("run", SessionStatus.RUNNING)


def test_stop_asks_first(analyst_client: Client, going: AnalysisSession) -> None:
    page = text(analyst_client.get(at(going, "act", "stop")))
    assert "Pause instead" in page
    assert "12 of 20 batches are saved" in page
    going.refresh_from_db()
    assert going.desired == "run"
    analyst_client.post(at(going, "act", "stop"))
    going.refresh_from_db()
    assert going.desired == "cancel"


def test_unknown_acts_do_not_exist(analyst_client: Client, going: AnalysisSession) -> None:
    assert analyst_client.post(at(going, "act", "explode")).status_code == 404


def test_batches_page_tells_reasons(viewer_client: Client, done: AnalysisSession) -> None:
    done.items.filter(position=1).update(
        outcome="failed", error_class="bad_answer", error="The answer was no JSON."
    )
    AnalysisSession.objects.filter(pk=done.pk).update(failed_count=1)
    page = text(viewer_client.get(at(done, "batches")))
    assert "The answer was no JSON." in page
    assert "1 conversation" in page
