"""JSON door of analyses: start, follow, results, wishes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction
from django.http import HttpResponse
from django.test import Client

from accounts.models import Role, User, Workspace
from accounts.services import create_api_key
from analyses.events import InsightsFound, StatusChanged
from analyses.models import AnalysisSession, SessionStatus
from core.events import publish
from projects.models import Dataset, Project
from providers.models import ModelDeployment, Provider, ProviderKind, SpendBook, SpendLimit
from tests.analyses import builders


@pytest.fixture
def program(analyst: User, workspace: Workspace) -> Client:
    _, secret = create_api_key(actor=analyst, workspace=workspace, name="k", role=Role.ANALYST)
    return Client(headers={"authorization": f"Bearer {secret}"}, enforce_csrf_checks=True)


@pytest.fixture
def base(project: Project) -> str:
    builders.template()
    return f"/api/v1/projects/{project.slug}/sessions"


def post(client: Client, url: str, body: object) -> HttpResponse:
    return client.post(url, json.dumps(body), content_type="application/json")


def problem(answer: HttpResponse, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.content
    assert answer.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = json.loads(answer.content)
    return body


def test_start_follow_stop(program: Client, base: str, dataset: Dataset) -> None:
    answer = post(program, base, {"dataset": dataset.number, "name": "First", "limit": 11})
    assert answer.status_code == 202, answer.content
    made = answer.json()
    assert (made["number"], made["name"], made["status"], made["total"]) == (
        1,
        "First",
        "running",
        11,
    )
    assert [row["key"] for row in made["stages"]][:2] == ["prepare", "facets"]
    assert made["cost"] in ("0", "0.000000", 0)
    one = f"{base}/1"
    assert program.get(one).json()["status"] == "running"
    for action, status in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        answer = post(program, f"{one}/wishes", {"action": action})
        assert (answer.status_code, answer.json()["status"]) == (202, status)
    problem(post(program, f"{one}/wishes", {"action": "resume"}), 409)
    problem(post(program, f"{one}/wishes", {"action": "delete"}), 422)
    body = program.get(f"{one}/events").json()
    assert [row["seq"] for row in body["items"]] == list(range(1, body["last"] + 1))
    statuses = [row["payload"]["status"] for row in body["items"] if row["kind"] == "status"]
    assert statuses == ["running", "paused", "queued", "running", "cancelled"]
    again = program.get(f"{one}/events?after={body['last']}").json()
    assert again == {"items": [], "last": body["last"]}


def test_events_never_skip(program: Client, base: str, going: AnalysisSession) -> None:
    """What is committed between two answers comes with the second."""
    url = f"{base}/{going.number}/events"
    seen: list[int] = []
    last = 0
    with transaction.atomic():
        publish(going.topic, *(InsightsFound(count=number) for number in range(700)))
    for _ in range(4):
        body = program.get(f"{url}?after={last}").json()
        seen += [row["seq"] for row in body["items"]]
        last = body["last"]
        with transaction.atomic():
            publish(going.topic, StatusChanged(status="running"))
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) > 700
    for wrong in ("-1", "x", "9" * 30):
        problem(program.get(f"{url}?after={wrong}"), 422)
    assert program.get(f"{url}?after=100000").json() == {"items": [], "last": 100000}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "dataset"),
        ({"dataset": 99}, "dataset"),
        ({"dataset": 10**30}, "dataset"),
        ({"dataset": "one"}, "dataset"),
        ({"dataset": 1, "template": "nothing"}, "template"),
        ({"dataset": 1, "template": "x" * 61}, "template"),
        ({"dataset": 1, "provider": str(uuid4())}, "provider"),
        ({"dataset": 1, "provider": "scripted"}, "provider"),
        ({"dataset": 1, "limit": 0}, "limit"),
        ({"dataset": 1, "concurrency": 0}, "concurrency"),
        ({"dataset": 1, "concurrency": 5000}, "concurrency"),
        ({"dataset": 1, "name": "x" * 161}, "name"),
    ],
)
def test_wrong_fields_are_named(
    program: Client, base: str, dataset: Dataset, body: dict[str, Any], field: str
) -> None:
    found = problem(post(program, base, body), 422)
    assert field in {key.split(".")[-1] for key in found["fields"]}, found
    assert not AnalysisSession.objects.exists()


def test_providers_of_another_workspace_do_not_exist(
    program: Client, base: str, dataset: Dataset, other_workspace: Workspace, workspace: Workspace
) -> None:
    for owner, status in ((other_workspace, 422), (workspace, 202)):
        provider = Provider.objects.create(workspace=owner, name="S", kind=ProviderKind.SCRIPTED)
        ModelDeployment.objects.create(provider=provider, model="m")
        body = {"dataset": 1, "provider": str(provider.uid)}
        assert post(program, base, body).status_code == status
        Provider.objects.filter(pk=provider.pk).update(enabled=False)
        assert post(program, base, body).status_code == 422


def test_what_is_decided_here_cannot_be_set(program: Client, base: str, dataset: Dataset) -> None:
    body = {"dataset": 1, "status": "completed", "number": 77, "cost": "9", "desired": "cancel"}
    made = post(program, base, body).json()
    assert (made["number"], made["status"], made["desired"]) == (1, "running", "run")
    assert float(made["cost"]) == 0


def test_results(program: Client, base: str, done: AnalysisSession) -> None:
    body = program.get(f"{base}/{done.number}/results").json()
    assert body["status"] == SessionStatus.COMPLETED
    assert body["withheld"] == 1
    names = {row["name"] for row in body["clusters"]}
    assert "A secret group" not in json.dumps(body)
    assert "Reset a forgotten password" in names
    by_id = {row["id"]: row for row in body["clusters"]}
    for row in body["clusters"]:
        assert not row["provisional"]
        if row["parent"] is not None:
            assert by_id[row["parent"]]["level"] == row["level"] - 1
    assert body["report"]["adds_up"] is True
    assert [row["rank"] for row in body["insights"]] == sorted(
        row["rank"] for row in body["insights"]
    )


def test_insights_about_withheld_groups_stay_inside(
    program: Client, base: str, done: AnalysisSession
) -> None:
    hidden = done.clusters.get(shown=False)
    found = program.get(f"{base}/{done.number}/results").json()["insights"]
    assert hidden.key not in {row["cluster"] for row in found}
    assert "About the last group." not in json.dumps(found)


def test_provisional_results(program: Client, base: str, going: AnalysisSession) -> None:
    body = program.get(f"{base}/{going.number}/results").json()
    assert body["status"] == "running"
    assert body["clusters"]
    assert all(row["provisional"] for row in body["clusters"])
    assert body["report"] == {}


def test_conversations_come_in_order_without_raw_text(
    program: Client, base: str, done: AnalysisSession
) -> None:
    # Written by several workers, rows are not in the order of their keys.
    items = list(done.items.order_by("position"))
    for item in items:
        item.position += 1000
    type(items[0]).objects.bulk_update(items, ["position"])
    for place, item in enumerate(reversed(items)):
        item.position = place
    type(items[0]).objects.bulk_update(items, ["position"])
    seen: list[int] = []
    cursor = ""
    while True:
        body = program.get(f"{base}/{done.number}/conversations?limit=90{cursor}").json()
        seen += [row["position"] for row in body["items"]]
        if body["next"] is None:
            break
        cursor = f"&cursor={body['next']}"
    assert seen == list(range(200))
    first = body["items"][0]
    said = {"position", "id", "outcome", "title", "language", "error", "facets", "model"}
    assert set(first) == said
    assert first["facets"]["language"] == "English"
    assert "Let me look into that." not in json.dumps(body)


def test_csv(program: Client, base: str, done: AnalysisSession, going: AnalysisSession) -> None:
    answer = program.get(f"{base}/{done.number}/conversations.csv")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    text = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 200
    assert {"id", "theme", "cluster", "x", "y", "request"} <= set(rows[0])
    assert "A secret group" not in text
    hidden = done.clusters.get(shown=False)
    empty = sum(row["cluster"] == "" for row in rows)
    assert empty == hidden.memberships.count() > 0
    sizes = {row.name: row.size for row in done.clusters.filter(shown=True, leaf__isnull=False)}
    for name, size in sizes.items():
        assert sum(row["cluster"] == name for row in rows) == size
    partly = program.get(f"{base}/{going.number}/conversations.csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(partly.streaming_content).decode())))  # type: ignore[attr-defined]
    assert sum(bool(row["request"]) for row in rows) == going.read_count
    assert not any(row["cluster"] for row in rows)


def test_csv_while_more_is_read_keeps_every_answer_in_its_row(
    base: str, going: AnalysisSession
) -> None:
    from analyses import export

    lines = export.conversations_csv(going)
    header = next(lines)
    first = next(lines)
    # Meanwhile an earlier conversation and a later one are read.
    going.items.filter(position=5).delete()
    rest = list(lines)
    rows = list(csv.DictReader(io.StringIO(header + first + "".join(rest))))
    for position in (0, 6, 50, 123):
        assert rows[position]["request"] == f"Answer {position % 7}"


def test_lists(program: Client, base: str, done: AnalysisSession, going: AnalysisSession) -> None:
    body = program.get(f"{base}?limit=1").json()
    assert [row["number"] for row in body["items"]] == [going.number]
    body = program.get(f"{base}?limit=1&cursor={body['next']}").json()
    assert [row["number"] for row in body["items"]] == [done.number]
    assert body["next"] is None


def test_queries_do_not_grow_with_rows(
    program: Client,
    base: str,
    done: AnalysisSession,
    django_assert_max_num_queries: Callable[..., Any],
) -> None:
    for tail in ("", f"/{done.number}", f"/{done.number}/results", f"/{done.number}/conversations"):
        with django_assert_max_num_queries(14):
            assert program.get(base + tail).status_code == 200


def test_ids_of_another_workspace_are_not_found(
    program: Client,
    done: AnalysisSession,
    other_project: Project,
    other_owner: User,
    make_dataset: Callable[..., Dataset],
    base: str,
) -> None:
    theirs = builders.finished(make_dataset(other_project, size=60), other_owner)
    foreign = f"/api/v1/projects/{other_project.slug}/sessions"
    for tail in ("", "/results", "/conversations", "/events", "/conversations.csv"):
        problem(program.get(f"{foreign}/{theirs.number}{tail}"), 404)
    problem(program.get(foreign), 404)
    problem(post(program, foreign, {"dataset": 1}), 404)
    problem(post(program, f"{foreign}/{theirs.number}/wishes", {"action": "cancel"}), 404)
    # Neither through an address of one's own.
    mine = program.get(f"{base}?cursor={theirs.pk + 1}").json()["items"]
    assert {row["number"] for row in mine} == {done.number}


# --- Steering -----------------------------------------------------------------------------------


def test_a_refusal_names_the_state(program: Client, base: str, done: AnalysisSession) -> None:
    found = problem(post(program, f"{base}/{done.number}/wishes", {"action": "pause"}), 409)
    assert (found["status"], found["state"]) == (409, "completed")


def test_retry_through_the_api(program: Client, base: str, done: AnalysisSession) -> None:
    url = f"{base}/{done.number}/wishes"
    assert problem(post(program, url, {"action": "retry"}), 409)["state"] == "completed"
    done.items.filter(position=4).update(outcome="failed", error_class="timeout")
    AnalysisSession.objects.filter(pk=done.pk).update(
        status=SessionStatus.PARTIAL, failed_count=1, read_count=199
    )
    assert program.get(f"{base}/{done.number}").json()["can"] == ["retry"]
    answer = post(program, url, {"action": "retry"})
    assert (answer.status_code, answer.json()["status"]) == (202, "running")


def test_one_conversation_is_retried_through_the_api(
    program: Client, base: str, done: AnalysisSession
) -> None:
    url = f"{base}/{done.number}/wishes"
    done.items.filter(position__in=(4, 8)).update(outcome="failed", error_class="worker")
    AnalysisSession.objects.filter(pk=done.pk).update(
        status=SessionStatus.PARTIAL, failed_count=2, read_count=198
    )
    for wrong in (
        {"action": "retry", "positions": [5]},
        {"action": "retry", "positions": []},
        {"action": "retry", "positions": ["x"]},
        {"action": "retry", "positions": [-1]},
        {"action": "retry", "positions": list(range(1001))},
        {"action": "resume", "positions": [4]},
    ):
        problem(post(program, url, wrong), 422)
    answer = post(program, url, {"action": "retry", "positions": [4]})
    assert (answer.status_code, answer.json()["failed"]) == (202, 1)
    assert done.items.get(outcome="failed").position == 8


@pytest.fixture
def paid(going: AnalysisSession, workspace: Workspace) -> AnalysisSession:
    provider = Provider.objects.create(workspace=workspace, name="A", kind=ProviderKind.SCRIPTED)
    going.chat = ModelDeployment.objects.create(provider=provider, model="m")
    going.save()
    return going


def test_a_limit_that_is_raised_lets_it_go_on(
    program: Client, base: str, paid: AnalysisSession
) -> None:
    one = f"{base}/{paid.number}"
    body = post(program, f"{one}/limit", {"amount": "2.50"}).json()
    assert [(row["kind"], row["period"], float(row["amount"])) for row in body["limits"]] == [
        ("analysis", "all", 2.5)
    ]
    SpendBook.objects.create(scope=f"analysis:{paid.pk}", key="all", spent=3)
    blocked = {"status": SessionStatus.BLOCKED, "reason": "budget"}
    AnalysisSession.objects.filter(pk=paid.pk).update(**blocked)
    assert post(program, f"{one}/limit", {"amount": "2.90"}).json()["status"] == "blocked"
    assert post(program, f"{one}/limit", {"amount": "9"}).json()["status"] == "running"
    AnalysisSession.objects.filter(pk=paid.pk).update(**blocked)
    body = post(program, f"{one}/limit", {"amount": None}).json()
    assert (body["status"], body["limits"]) == ("running", [])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"amount": "-1"}, 422),
        ({}, 422),
        ({"amount": "1e99"}, 422),
        ({"amount": "1", "period": "day"}, 422),
        ({"amount": "1", "kind": "galaxy"}, 422),
        ({"amount": "1", "kind": "project", "period": "month"}, 403),
        ({"amount": "1", "kind": "workspace", "period": "day"}, 403),
    ],
)
def test_limits_that_are_refused(
    program: Client, base: str, paid: AnalysisSession, body: dict[str, Any], status: int
) -> None:
    problem(post(program, f"{base}/{paid.number}/limit", body), status)
    assert not SpendLimit.objects.exists()


def test_another_provider_takes_over(
    program: Client, base: str, paid: AnalysisSession, workspace: Workspace, other_workspace: Any
) -> None:
    url = f"{base}/{paid.number}/providers"
    second = Provider.objects.create(workspace=workspace, name="B", kind=ProviderKind.SCRIPTED)
    ModelDeployment.objects.create(provider=second, model="m2")
    theirs = Provider.objects.create(workspace=other_workspace, name="B", kind=second.kind)
    ModelDeployment.objects.create(provider=theirs, model="m3")
    found = problem(post(program, url, {"chat": str(second.uid)}), 409)
    assert found["state"] == "running"
    AnalysisSession.objects.filter(pk=paid.pk).update(
        status=SessionStatus.BLOCKED, reason="provider"
    )
    found = problem(post(program, url, {"chat": str(theirs.uid)}), 422)
    assert set(found["fields"]) == {"chat"}
    body = {"chat": str(second.uid), "fallback": str(paid.chat.provider.uid)}
    answer = post(program, url, body).json()
    assert (answer["status"], answer["chat"]) == ("running", str(second.uid))
    assert answer["fallback"] == str(paid.chat.provider.uid)


def test_a_session_tells_what_happened_to_it(
    program: Client, base: str, paid: AnalysisSession
) -> None:
    recovery = {"at": "2026-06-01T09:00:00+00:00", "kept_batches": 3, "text": "A worker stopped."}
    AnalysisSession.objects.filter(pk=paid.pk).update(
        recovery=recovery, recoveries=2, in_doubt="0.02", doubt_count=3, estimate={"low": 1}
    )
    body = program.get(f"{base}/{paid.number}").json()
    assert (body["recovery"], body["recoveries"]) == (recovery, 2)
    assert (float(body["in_doubt"]), body["doubt_count"]) == (0.02, 3)
    assert body["estimate"] == {"low": 1}
    assert body["can"] == ["pause", "cancel"]
