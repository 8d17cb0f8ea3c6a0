"""The page and the API of spending limits, purging, and filling the books of old calls."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from accounts.models import AuditEvent, Role, User, Workspace
from accounts.services import create_api_key
from projects.models import Project
from providers.models import LlmAttempt, LlmCall, SpendBook, SpendLimit
from providers.runner import DatabaseJournal
from providers.selectors import spending
from providers.services import forget_vectors
from tests.providers.books import book, intent
from tests.providers.test_journal import answered, failed, journal

__all__ = ["journal"]

PAGE = "/settings/limits/"
API = "/api/v1/limits"


def put(client: Client, body: dict[str, Any]) -> Any:
    return client.put(API, json.dumps(body), content_type="application/json")


@pytest.fixture
def program(owner: User, workspace: Workspace) -> Client:
    _, secret = create_api_key(actor=owner, workspace=workspace, name="Nightly", role=Role.OWNER)
    return Client(headers={"authorization": f"Bearer {secret}"}, enforce_csrf_checks=True)


def test_the_page_shows_sums_and_sets_limits(
    owner_client: Client, project: Project, journal: DatabaseJournal
) -> None:
    scope = f"project:{project.pk}"
    one = intent("a", 1, project=project.pk)
    two = intent("b", 2, project=project.pk)
    three = intent("c", 3, project=project.pk, reserved=0.25)
    journal.write([one, answered(one, cost=0.3), two, failed(two, in_doubt=True), three])
    page = owner_client.get(PAGE).content.decode()
    assert project.name in page
    assert "$0.30 settled, $0.40 in doubt, $0.25 set aside for calls now out." in page
    answer = owner_client.post(PAGE, {"scope": scope, "day": "5", "month": ""})
    assert answer.status_code == 302
    assert list(SpendLimit.objects.values_list("scope", "period", "amount")) == [
        (scope, "day", Decimal(5))
    ]
    page = owner_client.get(PAGE).content.decode()
    assert "$0.70 of $5.00" in page
    assert 'value="5.00"' in page
    owner_client.post(PAGE, {"scope": scope, "day": "", "month": "0.5"})
    assert list(SpendLimit.objects.values_list("period", "amount")) == [("month", Decimal("0.5"))]
    actions = AuditEvent.objects.order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["limit.set", "limit.removed", "limit.set"]


def test_saving_what_is_there_changes_and_records_nothing(
    owner_client: Client, workspace: Workspace
) -> None:
    scope = f"workspace:{workspace.pk}"
    for _ in range(2):
        owner_client.post(PAGE, {"scope": scope, "day": "5", "month": ""})
    assert AuditEvent.objects.count() == 1


@pytest.mark.parametrize("amount", ["-1", "NaN", "Infinity", "1e400", "five", "9" * 30, "5000000"])
def test_amounts_that_make_no_sense_are_told_beside_their_field(
    owner_client: Client, workspace: Workspace, amount: str
) -> None:
    answer = owner_client.post(
        PAGE, {"scope": f"workspace:{workspace.pk}", "day": amount, "month": ""}
    )
    assert answer.status_code == 422
    assert not SpendLimit.objects.exists()


def test_scopes_of_elsewhere_are_not_found(
    owner_client: Client, other_workspace: Workspace, program: Client
) -> None:
    foreign = Project.objects.create(workspace=other_workspace, name="Secret", slug="secret")
    for scope in (f"workspace:{other_workspace.pk}", f"project:{foreign.pk}", "analysis:1", "x"):
        assert owner_client.post(PAGE, {"scope": scope, "day": "5"}).status_code == 404
    body = {"project": "secret", "period": "day", "amount": "5"}
    assert put(program, body).status_code == 404
    assert "Secret" not in owner_client.get(PAGE).content.decode()
    assert not SpendLimit.objects.exists()


def test_names_are_text(owner_client: Client, project: Project) -> None:
    Project.objects.update(name="<script>alert(1)</script>")
    page = owner_client.get(PAGE).content.decode()
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_the_api_does_what_the_page_does(
    program: Client, project: Project, workspace: Workspace, journal: DatabaseJournal
) -> None:
    row = intent(project=project.pk)
    journal.write([row, answered(row, cost=0.3)])
    body = {"project": project.slug, "period": "month", "amount": "12.5"}
    told = put(program, body).json()
    assert told == program.get(API).json()
    first, second = told
    assert (first["name"], first["project"]) == (workspace.name, None)
    assert second["project"] == project.slug
    month = second["periods"][1]
    assert (month["period"], Decimal(month["limit"]), Decimal(month["spent"])) == (
        "month",
        Decimal("12.5"),
        Decimal("0.3"),
    )
    assert first["periods"][0]["limit"] is None
    assert put(program, {"period": "day", "amount": "1"}).status_code == 200
    assert SpendLimit.objects.get(scope=f"workspace:{workspace.pk}").period == "day"
    for body in (
        {"period": "day", "amount": "-1"},
        {"period": "day", "amount": "NaN"},
        {"period": "all", "amount": "1"},
        {"period": "day"},
    ):
        assert put(program, body).status_code == 422
    put(program, {"project": project.slug, "period": "month", "amount": None})
    put(program, {"period": "day", "amount": None})
    assert not SpendLimit.objects.exists()


def test_reading_takes_three_queries(
    workspace: Workspace, project: Project, django_assert_num_queries: Callable[..., Any]
) -> None:
    with django_assert_num_queries(3):
        rows = spending(workspace)
    assert [row.place.scope for row in rows] == [
        f"workspace:{workspace.pk}",
        f"project:{project.pk}",
    ]


# Purging


def test_old_answers_are_purged_and_their_cost_stays(
    journal: DatabaseJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = intent("a", 1), intent("b", 2)
    journal.write([old, new, answered(old, cost=0.1), answered(new, cost=0.1)])
    LlmCall.objects.filter(fingerprint="a" * 64).update(
        settled_at=timezone.now() - timedelta(days=31)
    )
    call_command("purge_answers", days=30)
    assert capsys.readouterr().out == "1 answer removed.\n"
    kept = LlmCall.objects.get(fingerprint="a" * 64)
    assert (kept.response, kept.cost, kept.tokens_in) == ("", Decimal("0.1"), 10)
    assert set(journal.read(["a" * 64, "b" * 64])) == {"b" * 64}
    assert book() == (pytest.approx(0.2), 0, 0)


def test_vectors_go_when_they_are_saved(journal: DatabaseJournal) -> None:
    mine = intent("a", 1, purpose="embeddings")
    other = intent("b", 2, purpose="embeddings", session=10)
    chat = intent("c", 3)
    journal.write([row for one in (mine, other, chat) for row in (one, answered(one))])
    assert forget_vectors(9) == 1
    assert set(journal.read(["a" * 64, "b" * 64, "c" * 64])) == {"b" * 64, "c" * 64}


# The books of old calls


def test_the_books_filled_from_the_journal_are_those_kept_all_along(
    journal: DatabaseJournal,
) -> None:
    one, two, three = intent("a", 1), intent("b", 2), intent("c", 3, session=10, project=None)
    journal.write([one, two, three])
    journal.write([answered(one, cost=0.3), failed(two, in_doubt=True), answered(three, cost=0.2)])
    kept = books()
    migration = importlib.import_module("providers.migrations.0005_books_from_the_journal")
    migration.empty(apps, None)
    assert not SpendBook.objects.exists()
    migration.fill(apps, None)
    assert books() == kept
    migration.fill(apps, None)
    assert books() == kept


def books() -> dict[tuple[str, str], tuple[Decimal, ...]]:
    rows = SpendBook.objects.exclude(spent=0, doubt=0, reserved=0)
    return {(row.scope, row.key): (row.spent, row.doubt, row.reserved) for row in rows}


def test_an_empty_journal_gives_empty_books(db: None) -> None:
    migration = importlib.import_module("providers.migrations.0005_books_from_the_journal")
    migration.fill(apps, None)
    assert not SpendBook.objects.exists()
    assert not LlmAttempt.objects.exists()
