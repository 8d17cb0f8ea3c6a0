"""Pages and API say the same and refuse the same: both stand on the same services."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from analyses.models import AnalysisSession, SessionStatus
from projects.models import Dataset, DatasetStatus
from providers.models import SpendLimit
from tests.analyses import builders


@pytest.fixture
def done(dataset: Dataset, analyst: User, make_dataset: Callable[..., Dataset]) -> AnalysisSession:
    return builders.finished(make_dataset(dataset.project, size=200, name="Larger"), analyst)


def pages(session: AnalysisSession) -> str:
    return f"/p/{session.project.slug}/analyses/{session.number}"


def programs(session: AnalysisSession) -> str:
    return f"/api/v1/projects/{session.project.slug}/sessions/{session.number}"


def words(client: Client, url: str) -> str:
    """What a person reads on a page."""
    answer = client.get(url, follow=True)
    assert answer.status_code == 200, (url, answer.status_code)
    text = re.sub(r"<(script|style)\b.*?</\1>", " ", answer.content.decode(), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def test_the_same_clusters_and_counts(analyst_client: Client, done: AnalysisSession) -> None:
    api = analyst_client.get(programs(done) + "/results").json()
    state = analyst_client.get(programs(done)).json()
    tree = words(analyst_client, pages(done) + "/explore/")
    assert len(api["clusters"]) >= 10
    for row in api["clusters"]:
        assert row["name"] in tree
        assert f"{row['size']:,}" in tree
    hidden = done.clusters.get(shown=False)
    for url in ("/", "/explore/", "/live/", "/insights/", "/batches/"):
        assert hidden.name not in words(analyst_client, pages(done) + url)
    assert hidden.name not in json.dumps(api)
    summary = words(analyst_client, pages(done) + "/")
    assert f"{state['read']:,}" in summary
    for insight in api["insights"]:
        assert insight["title"] in words(analyst_client, pages(done) + "/insights/")


def test_the_same_files(analyst_client: Client, done: AnalysisSession) -> None:
    from_page = analyst_client.get(pages(done) + "/export/conversations.csv")
    from_api = analyst_client.get(programs(done) + "/conversations.csv")
    assert b"".join(from_page.streaming_content) == b"".join(from_api.streaming_content)  # type: ignore[attr-defined]
    clusters = json.loads(analyst_client.get(pages(done) + "/export/clusters.json").content)
    results = analyst_client.get(programs(done) + "/results").json()["clusters"]
    names = [(row["id"], row["parent"], row["name"], row["size"]) for row in results]
    assert [(r["id"], r["parent"], r["name"], r["size"]) for r in clusters] == names


def test_the_same_projects_and_data_sets(
    analyst_client: Client, viewer_client: Client, outsider_client: Client, done: AnalysisSession
) -> None:
    for client in (analyst_client, viewer_client, outsider_client):
        listed = client.get("/api/v1/projects").json()["items"]
        page = words(client, "/projects/")
        for row in listed:
            assert row["name"] in page
        if not listed:
            assert done.project.name not in page
    sets = analyst_client.get(f"/api/v1/projects/{done.project.slug}/datasets").json()["items"]
    page = words(analyst_client, f"/p/{done.project.slug}/data/")
    for row in sets:
        assert row["name"] in page
        assert f"{row['conversation_count']:,}" in page


WISHES = (("pause", "pause"), ("resume", "resume"), ("stop", "cancel"), ("retry", "retry"))


@pytest.mark.parametrize("status", SessionStatus.values)
@pytest.mark.parametrize(("action", "wish"), WISHES)
def test_the_same_wishes_are_refused(
    analyst_client: Client, done: AnalysisSession, status: str, action: str, wish: str
) -> None:
    def outcome(send: Callable[[], int]) -> tuple[bool, str]:
        desired = {"pausing": "pause", "paused": "pause", "cancelling": "cancel"}
        AnalysisSession.objects.filter(pk=done.pk).update(
            status=status, desired=desired.get(status, "run")
        )
        code = send()
        done.refresh_from_db()
        assert code in (202, 302, 409)
        return code == 409, done.status

    page = outcome(lambda: analyst_client.post(pages(done) + f"/{action}/").status_code)
    api = outcome(
        lambda: (
            analyst_client.post(
                programs(done) + "/wishes", {"action": wish}, content_type="application/json"
            ).status_code
        )
    )
    assert page == api


def test_the_same_limits_are_refused(
    viewer_client: Client, analyst_client: Client, owner_client: Client, done: AnalysisSession
) -> None:
    AnalysisSession.objects.filter(pk=done.pk).update(status=SessionStatus.PAUSED, desired="pause")
    wanted = ({"kind": "analysis", "period": "all"}, {"kind": "project", "period": "month"},
              {"kind": "analysis", "period": "day"})  # fmt: skip

    def outcome(send: Callable[[], int]) -> tuple[int, list[str]]:
        code = send()
        made = [f"{row.scope} {row.amount:f}" for row in SpendLimit.objects.all()]
        SpendLimit.objects.all().delete()
        return (202 if code == 302 else code), made

    def posted(
        client: Client, url: str, body: dict[str, str], **kind: Any
    ) -> tuple[int, list[str]]:
        return outcome(lambda: client.post(url, body, **kind).status_code)

    for client in (viewer_client, analyst_client, owner_client):
        for kind in wanted:
            body = {**kind, "amount": "7.50"}
            page = posted(client, pages(done) + "/limit/", body)
            api = posted(client, programs(done) + "/limit", body, content_type="application/json")
            assert page == api


def test_the_same_starts_are_refused(
    analyst_client: Client, viewer_client: Client, outsider_client: Client, dataset: Dataset
) -> None:
    version = builders.template()
    project = dataset.project

    def both(client: Client, template: str) -> tuple[bool, bool]:
        before = AnalysisSession.objects.count()
        client.post(
            f"/p/{project.slug}/analyses/new/",
            {"dataset": dataset.pk, "version": template, "reader": "", "name": ""},
        )
        page = AnalysisSession.objects.count() - before
        key = version.template.key if template == str(version.pk) else "nothing"
        client.post(
            f"/api/v1/projects/{project.slug}/sessions",
            {"dataset": dataset.number, "template": key},
            content_type="application/json",
        )
        return page == 1, AnalysisSession.objects.count() - before - page == 1

    assert both(analyst_client, str(version.pk)) == (True, True)
    assert both(analyst_client, "0") == (False, False)
    assert both(viewer_client, str(version.pk)) == (False, False)
    assert both(outsider_client, str(version.pk)) == (False, False)
    Dataset.objects.filter(pk=dataset.pk).update(status=DatasetStatus.IMPORTING)
    assert both(analyst_client, str(version.pk)) == (False, False)
