"""Buttons, notices and their pages: what a person may press, is told and gets back."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User, Workspace
from analyses import services
from analyses.models import AnalysisSession, Batch, BlockReason, Outcome, SessionStatus
from analyses.selectors import batches, controls, limits, notices
from core.errors import Conflict
from core.models import WorkStatus
from providers.models import (
    LlmCall,
    ModelDeployment,
    Period,
    Provider,
    ProviderKind,
    SpendBook,
    SpendLimit,
)

ACTS: dict[str, Callable[..., object]] = {
    "pause": services.pause,
    "resume": services.resume,
    "stop": services.cancel,
    "retry": services.retry_failed,
}


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


# --- Buttons --------------------------------------------------------------------------------------

STATES = [(status, "") for status in SessionStatus.values if status != "blocked"] + [
    ("blocked", reason) for reason in BlockReason.values
]
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


# --- Notices --------------------------------------------------------------------------------------


def told(session: AnalysisSession) -> str:
    notice = notices.notice_of(session)
    assert notice is not None
    return f"{notice.title} {notice.text}"


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("budget", "The limit for this analysis is reached. $4.01 of $4.00 is spent."),
        ("quota", "The account at Acme has no credit left."),
        ("key", "Acme refused the key."),
        ("provider", "Acme does not answer."),
        ("disk", "The disk is full."),
        ("too_many_errors", "3 conversations failed, so the analysis stopped to ask. The provider"),
        ("upgrade", "It was started with another version of OpenClio."),
    ],
)
def test_every_block_says_what_is_safe(paid: AnalysisSession, reason: str, words: str) -> None:
    spend(paid, "4", "3.98", "0.03")
    paid.items.filter(position__lt=3).update(outcome=Outcome.FAILED, error_class="timeout")
    change(paid, status="blocked", reason=reason, failed_count=3)
    assert told(paid).startswith(words)
    assert "What was read is saved." in told(paid)
    assert "Tried again" not in told(paid)


@pytest.mark.parametrize(
    ("detail", "words"),
    [
        ("Acme: The provider refused the API key. (HTTP 401)", "Acme refused the key."),
        (
            "Second: The provider does not know this model or address.",
            "Second: The provider does not know this model or address. What was read is saved. "
            "Check the key and the model there",
        ),
    ],
)
def test_a_key_that_is_not_to_blame_is_not_blamed(
    paid: AnalysisSession, detail: str, words: str
) -> None:
    change(paid, status="blocked", reason="key", detail=detail)
    assert told(paid).startswith(words)


def test_a_notice_says_when_it_is_tried_again(paid: AnalysisSession) -> None:
    at_noon = timezone.localtime().replace(hour=23, minute=59, second=0, microsecond=0)
    change(paid, status="blocked", reason="provider", retry_at=at_noon + timedelta(seconds=59))
    assert "Tried again at 23:59." in told(paid)
    change(paid, retry_at=at_noon + timedelta(days=1))
    assert re.search(r"Tried again on \d+ [A-Z][a-z]+ at 23:59\.", told(paid))
    change(paid, retry_at=timezone.now() - timedelta(seconds=1))
    assert "It is being tried again now." in told(paid)


def test_the_most_urgent_comes_first_and_the_next_when_dismissed(paid: AnalysisSession) -> None:
    spend(paid, "10", "8.5")
    recovery = {"at": "2026-06-01T09:00:00+00:00", "kept_conversations": 312,
                "repeated_conversations": 25, "repeated_batches": 1}  # fmt: skip
    change(paid, recovery=recovery, recoveries=2, doubt_count=1, in_doubt="0.02")
    assert told(paid).startswith("85% of the limit for this analysis is used: $8.50 of $10.00.")
    SpendLimit.objects.all().delete()
    found = notices.notices_of(paid)
    assert [one.told for one in found] == ["recovery-2", "doubt-1"]
    assert "312 conversations were kept. 25 are being read again. It costs nothing." in told(paid)
    change(paid, status="failed", detail="Cluster: it would not end")
    assert told(paid).startswith("The analysis failed at “Cluster”. It would not end. What was")
    assert f"Reference {paid.uid.hex[-12:]}." in told(paid)


def test_notices_ask_little(paid: AnalysisSession, django_assert_max_num_queries: Any) -> None:
    spend(paid, "10", "8.5")
    for status, reason in STATES:
        paid.status, paid.reason = status, reason
        with django_assert_max_num_queries(3):
            notices.notices_of(paid)


# --- Forms ----------------------------------------------------------------------------------------


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


def test_a_notice_is_dismissed_for_this_analysis(
    viewer_client: Client, paid: AnalysisSession
) -> None:
    change(paid, recovery={"kept_conversations": 3}, recoveries=1)
    live = at(paid, "live")
    assert "A worker stopped." in viewer_client.get(live).content.decode()
    assert "<h2" in viewer_client.get(at(paid, "recovery")).content.decode()
    answer = viewer_client.post(at(paid, "dismiss"), {"told": "recovery-1"})
    assert answer.cookies["told"]["path"] == live.removesuffix("live/")
    notice = re.search(r'id="live-notice"( hidden)?', viewer_client.get(live).content.decode())
    assert notice
    assert notice[1]
    # The next recovery is told again; what is no name of a notice is not kept.
    change(paid, recoveries=2)
    assert 'data-told="recovery-2"' in viewer_client.get(live).content.decode()
    assert "told" not in viewer_client.post(at(paid, "dismiss"), {"told": "x;y"}).cookies


# --- What is safe, and the batches ----------------------------------------------------------------


def test_what_is_saved_in_words(going: AnalysisSession) -> None:
    assert batches.saved_of(going).text == "Everything up to batch 12 is saved"
    change(going, status="pausing")
    assert batches.saved_of(going).wait.startswith("Pausing: 3 batches are still under way.")
    workspace = going.project.workspace
    provider = Provider.objects.create(workspace=workspace, name="A", kind=ProviderKind.OPENAI)
    change(going, chat=ModelDeployment.objects.create(provider=provider, model="m"))
    now = timezone.now()
    for number, until in enumerate((now + timedelta(seconds=60), now - timedelta(seconds=1))):
        LlmCall.objects.create(
            workspace=workspace, analysis_id=going.pk, fingerprint=str(number), purpose="facets",
            provider="A", model="m", sent_at=now, sent_until=until,
        )  # fmt: skip
    assert batches.saved_of(going).wait.startswith("Pausing: 1 call is still under way.")
    going.batches.filter(seq=0).update(status=WorkStatus.PENDING)
    assert batches.saved_of(going).text == "11 batches are saved"
    going.batches.all().delete()
    assert batches.saved_of(going).text == "No batch is saved yet"


def test_a_thousand_batches_come_in_pages(
    viewer_client: Client, going: AnalysisSession, django_assert_max_num_queries: Any
) -> None:
    Batch.objects.bulk_create(
        Batch(session=going, stage="facets", seq=seq, status=WorkStatus.DONE)
        for seq in range(20, 1200)
    )
    url = at(going, "batches")
    with django_assert_max_num_queries(20):
        page = viewer_client.get(url).content.decode()
    assert page.count('<tr id="batch-') == 100
    page = viewer_client.get(url, {"batch": "733"}).content.decode()
    assert '<tr id="batch-733" class="asked">' in page
    assert "701 to 800 of 1200" in page
    page = viewer_client.get(url, {"show": "running"}).content.decode()
    assert page.count('<tr id="batch-') == 3
    for odd in ({"batch": "9" * 40}, {"page": "x"}, {"show": "<b>"}, {"stage": "other"}):
        assert viewer_client.get(url, odd).status_code == 200


def test_every_failed_conversation_can_be_reached(
    analyst_client: Client, viewer_client: Client, done: AnalysisSession
) -> None:
    done.items.filter(position__lt=130).update(outcome=Outcome.FAILED, error_class="timeout")
    change(done, status=SessionStatus.PARTIAL, failed_count=130, read_count=70)
    page = analyst_client.get(at(done, "batches")).content.decode()
    assert "The provider did not answer in time." in page
    assert "and 118 more" in page
    assert at(done, "act", "retry") in page
    assert at(done, "act", "retry") not in viewer_client.get(at(done, "batches")).content.decode()
    seen = set()
    for number in (1, 2):
        found = analyst_client.get(at(done, "failed"), {"class": "timeout", "page": number})
        seen |= {
            int(place) for place in re.findall(r"conversations/(\d+)/", found.content.decode())
        }
    assert seen == set(range(130))
    # As it was uploaded, which is recorded and for analysts alone: redaction may be what failed.
    place = reverse("projects:conversation", args=["support", done.dataset.number, 5])
    assert place in page
    assert analyst_client.get(place).status_code == 200
    assert place not in viewer_client.get(at(done, "batches")).content.decode()
    assert "Nothing failed for this reason" in (
        analyst_client.get(at(done, "failed"), {"class": "<x>"}).content.decode()
    )


def test_one_conversation_or_one_reason_is_tried_again(
    analyst_client: Client, viewer_client: Client, done: AnalysisSession
) -> None:
    done.items.filter(position__lt=3).update(outcome=Outcome.FAILED, error_class="timeout")
    done.items.filter(position=5).update(outcome=Outcome.FAILED, error_class="worker")
    done.items.filter(position=6).update(outcome=Outcome.FAILED, error_class="empty")
    change(done, status=SessionStatus.PARTIAL, failed_count=5, read_count=195)
    url = at(done, "act", "retry")

    def offered(name: str, **query: str) -> list[tuple[str, str]]:
        page = analyst_client.get(at(done, name), query).content.decode()
        return re.findall(r'<input type="hidden" name="(position|reason)" value="(.*?)">', page)

    def failed() -> list[int]:
        return sorted(done.items.filter(outcome="failed").values_list("position", flat=True))

    assert sorted(offered("batches")) == [
        ("position", "0"), ("position", "1"), ("position", "2"),
        ("reason", "timeout"), ("reason", "worker"),
    ]  # fmt: skip
    assert sorted(offered("failed", **{"class": "worker"})) == [
        ("position", "5"), ("reason", "worker"),
    ]  # fmt: skip
    assert offered("failed", **{"class": "empty"}) == []
    assert viewer_client.post(url, {"position": "1"}).status_code in (403, 404)
    for wrong in ({"position": "9"}, {"position": "6"}, {"position": "x"}, {"reason": "quota"}):
        refused = analyst_client.post(url, wrong)
        assert (refused.status_code, "That is not possible now." in refused.content.decode()) == (
            409,
            True,
        )
    assert failed() == [0, 1, 2, 5, 6]
    assert analyst_client.post(url, {"position": "1"}).status_code == 302
    assert failed() == [0, 2, 5, 6]
    assert analyst_client.post(url, {"reason": "timeout"}).status_code == 302
    assert failed() == [5, 6]
    asked = analyst_client.post(url, {"position": "1"}, headers={"accept": "application/json"})
    assert (asked.status_code, asked.json()["code"]) == (422, "invalid")


@pytest.mark.parametrize(
    ("amount", "rounded"),
    [("12.34", "13"), ("0.071", "0.08"), ("1234", "1300"), ("6", "6"), ("0.001", "0.01")],
)
def test_amounts_as_people_write_them(amount: str, rounded: str) -> None:
    assert limits.rounded_up(Decimal(amount)) == Decimal(rounded)
