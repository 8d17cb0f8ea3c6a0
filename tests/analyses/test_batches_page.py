"""What is saved, the page of batches and the conversations that failed."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from django.test import Client
from django.urls import reverse
from django.utils import timezone

from analyses.models import AnalysisSession, Batch, Outcome, SessionStatus
from analyses.selectors import batches
from core.models import WorkStatus
from providers.models import (
    LlmCall,
    ModelDeployment,
    Provider,
    ProviderKind,
)
from tests.analyses.live_support import at, change, paid

__all__ = ["paid"]


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
