"""Buttons and their forms: what a person may press and gets back."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User, Workspace
from analyses import services
from analyses.models import AnalysisSession, Outcome, SessionStatus
from analyses.selectors import controls, limits
from core.errors import Conflict
from core.models import WorkStatus
from providers.models import (
    ModelDeployment,
    Period,
    Provider,
    ProviderKind,
    SpendBook,
    SpendLimit,
)
from tests.analyses.live_support import STATES, at, change, paid, spend, told

__all__ = ["paid"]


ACTS: dict[str, Callable[..., object]] = {
    "pause": services.pause,
    "resume": services.resume,
    "stop": services.cancel,
    "retry": services.retry_failed,
}


DESIRED = {"pausing": "pause", "paused": "pause", "cancelling": "cancel", "cancelled": "cancel"}


@pytest.mark.parametrize(("status", "reason"), STATES)
def test_no_button_leads_to_a_refusal(
    paid: AnalysisSession, analyst: User, status: str, reason: str
) -> None:
    """What is offered works; what neither button nor key offers may be refused."""
    paid.items.filter(position__lt=3).update(outcome=Outcome.FAILED, error_class="timeout")
    paid.batches.filter(status=WorkStatus.LEASED).update(status=WorkStatus.PENDING)
    values = {
        "status": status, "reason": reason, "desired": DESIRED.get(status, "run"),
        "failed_count": 3, "read_count": 121,
    }  # fmt: skip
    change(paid, **values)
    offered = [one.act for one in controls.controls_of(paid) if one.act in ACTS]
    for act in offered:
        change(paid, **values)
        ACTS[act](actor=analyst, session=paid)
    if status in ("cancelled", "completed"):
        assert offered == []
        for act in ACTS.values():
            with pytest.raises(Conflict):
                act(actor=analyst, session=paid)


@pytest.mark.parametrize(("status", "reason"), STATES)
def test_one_main_button_and_one_key(paid: AnalysisSession, status: str, reason: str) -> None:
    paid.status, paid.reason = status, reason
    found = controls.controls_of(paid)
    assert sum(one.tone == "pri" for one in found) <= 1
    assert sum(one.key == "p" for one in found) <= 1


def test_the_local_engine_has_no_provider_to_change(going: AnalysisSession) -> None:
    going.status = SessionStatus.PAUSED
    assert [one.act for one in controls.controls_of(going)] == ["resume", "stop"]


def test_a_conflict_says_the_state_and_what_can_be_done(
    analyst_client: Client, done: AnalysisSession, going: AnalysisSession
) -> None:
    answer = analyst_client.post(at(done, "act", "pause"))
    page = answer.content.decode()
    assert answer.status_code == 409
    assert "That is not possible now." in page
    assert "The analysis is already complete." in page
    assert page.count('class="note ') == 1
    change(going, desired="cancel", status="cancelling")
    said = analyst_client.post(at(going, "act", "pause"), headers={"accept": "application/json"})
    assert (said.status_code, said.json()["state"]) == (409, "cancelling")
    assert said.json()["title"] == "The analysis is being stopped."


def test_scripts_get_no_page(analyst_client: Client, going: AnalysisSession) -> None:
    answer = analyst_client.post(at(going, "act", "pause"), headers={"accept": "application/json"})
    assert (answer.status_code, answer.json()) == (202, {})


def test_two_clicks_do_no_harm(analyst_client: Client, going: AnalysisSession) -> None:
    for action, status in (("pause", "pausing"), ("resume", "running")):
        for _ in range(2):
            assert analyst_client.post(at(going, "act", action)).status_code == 302
        going.refresh_from_db()
        assert going.status == status
    assert analyst_client.post(at(going, "act", "stop")).status_code == 302
    assert analyst_client.post(at(going, "act", "stop")).status_code in (302, 409)
    going.refresh_from_db()
    assert going.status == "cancelling"


def test_the_limit_is_raised_by_a_form(analyst_client: Client, paid: AnalysisSession) -> None:
    spend(paid, "4", "4.01")
    change(paid, status="blocked", reason="budget")
    page = analyst_client.get(at(paid, "limit")).content.decode()
    assert 'value="6.00"' in page
    assert "$4.01 of $4.00 is used" in page
    form = {"kind": "analysis", "period": "all"}
    wrong = analyst_client.post(at(paid, "limit"), {**form, "amount": "much"})
    assert wrong.status_code == 422
    assert "Enter a number." in wrong.content.decode()
    said = analyst_client.post(
        at(paid, "limit"), {**form, "amount": "-1"}, headers={"accept": "application/json"}
    )
    assert (said.status_code, list(said.json()["fields"])) == (422, ["amount"])
    assert analyst_client.post(at(paid, "limit"), {**form, "amount": "6"}).status_code == 302
    paid.refresh_from_db()
    assert (paid.status, SpendLimit.objects.get().amount) == ("running", Decimal(6))


def test_limits_of_the_project_are_for_owners(
    analyst_client: Client, owner_client: Client, paid: AnalysisSession
) -> None:
    month = f"{timezone.now():%Y-%m}"
    scope = f"project:{paid.project_id}"
    SpendLimit.objects.create(
        workspace=paid.project.workspace, scope=scope, period=Period.MONTH, amount=5
    )
    SpendBook.objects.create(scope=scope, key=month, spent=5)
    change(paid, status="blocked", reason="budget")
    assert told(paid).startswith("The limit for the project this month is reached.")
    assert "set by an owner" in analyst_client.get(at(paid, "limit")).content.decode()
    form = {"kind": "project", "period": "month", "amount": "9"}
    assert analyst_client.post(at(paid, "limit"), form).status_code == 403
    assert owner_client.post(at(paid, "limit"), form).status_code == 302
    paid.refresh_from_db()
    assert paid.status == "running"


def test_another_provider_is_chosen_by_a_form(
    analyst_client: Client, paid: AnalysisSession, workspace: Workspace
) -> None:
    second = Provider.objects.create(workspace=workspace, name="Second", kind=ProviderKind.OPENAI)
    model = ModelDeployment.objects.create(provider=second, model="large")
    assert analyst_client.get(at(paid, "providers")).status_code == 302, "not while it runs"
    assert analyst_client.post(at(paid, "providers"), {"chat": model.pk}).status_code == 409
    change(paid, status="blocked", reason="provider")
    assert "Second · large" in analyst_client.get(at(paid, "providers")).content.decode()
    assert analyst_client.post(at(paid, "providers"), {"chat": "0"}).status_code == 422
    assert analyst_client.post(at(paid, "providers"), {"chat": model.pk}).status_code == 302
    paid.refresh_from_db()
    assert (paid.status, paid.chat, paid.fallback) == ("running", model, None)


@pytest.mark.parametrize(
    ("amount", "rounded"),
    [("12.34", "13"), ("0.071", "0.08"), ("1234", "1300"), ("6", "6"), ("0.001", "0.01")],
)
def test_amounts_as_people_write_them(amount: str, rounded: str) -> None:
    assert limits.rounded_up(Decimal(amount)) == Decimal(rounded)
