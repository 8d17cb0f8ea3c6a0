"""The end that is told: it narrows, and moves only with a reason in words."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import pytest
from django.utils import timezone
from hypothesis import given

from analyses.events import StatusChanged
from analyses.models import AnalysisSession, Batch, SessionStatus
from analyses.selectors import live
from analyses.selectors.estimates import Cost
from analyses.selectors.estimating import local_estimate
from analyses.selectors.outlook import LEAST_LEEWAY, LEEWAY, Outlook, clock, next_outlook
from analyses.services.outlook import remember_outlook
from core.events import publish
from core.models import Event, WorkStatus
from providers.models import CallState, LlmAttempt, LlmCall

NOW = timezone.now().replace(microsecond=0)


def quiet(later: bool) -> tuple[str, float | None]:
    return "it goes slower than before" if later else "it goes faster than before", 1.0


def ahead(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_a_range_inside_the_old_one_narrows_it() -> None:
    first = next_outlook(None, 1000, NOW, 1, quiet)
    second = next_outlook(first, 990, ahead(10), 2, quiet)
    assert first.early <= second.early <= second.likely <= second.late <= first.late
    assert (second.reason, second.moved) == ("", None)


def test_a_near_miss_is_drawn_into_the_old_range() -> None:
    first = next_outlook(None, 1000, NOW, 1, quiet)
    second = next_outlook(first, 1350, ahead(10), 2, quiet)
    assert second.late == first.late
    assert second.reason == ""


def test_a_far_miss_moves_with_a_reason() -> None:
    first = next_outlook(None, 1000, NOW, 1, quiet)
    later = next_outlook(first, 2000, ahead(10), 2, quiet)
    assert later.late > first.late
    assert later.reason == "it goes slower than before"
    assert later.moved == ahead(10)
    sooner = next_outlook(first, 300, ahead(10), 2, quiet)
    assert sooner.reason == "it goes faster than before"


@given(st.lists(st.floats(0.5, 100_000), min_size=2, max_size=30), st.floats(0.1, 600))
def test_never_backwards_without_a_reason(left: list[float], step: float) -> None:
    told = next_outlook(None, left[0], NOW, 0, quiet)
    for number, seconds in enumerate(left[1:], start=1):
        now = ahead(step * number)
        then = next_outlook(told, seconds, now, number, quiet)
        assert then.early <= then.likely <= then.late
        if then.moved != now:
            assert told.early <= then.early
            assert then.late <= told.late
            leeway = max(LEAST_LEEWAY, LEEWAY * (told.late - now).total_seconds())
            assert (now + timedelta(seconds=seconds) - told.late).total_seconds() <= leeway + 1e-3
        else:
            assert then.reason
        told = then


def test_it_survives_the_row() -> None:
    outlook = next_outlook(None, 100, NOW, 5, quiet).after_standing(
        timedelta(minutes=4), "paused", NOW
    )
    assert Outlook.from_json(outlook.to_json()) == outlook
    for broken in ({}, {"early": "soon"}, {**outlook.to_json(), "late": None}):
        assert Outlook.from_json(broken) is None


# --- On an analysis -----------------------------------------------------------------------------


@pytest.fixture
def busy(going: AnalysisSession) -> AnalysisSession:
    """4,000 of 10,000 read at 10 a second, as of :data:`NOW`."""
    going.total = 10_000
    going.save()
    going.stages.filter(key="facets").update(
        items_done=4_000, items_total=10_000, started_at=NOW - timedelta(seconds=400)
    )
    reading(going, NOW)
    return going


def reading(session: AnalysisSession, now: datetime, every: float = 10.0) -> None:
    """Batches of 100 saved at this pace in the last minute."""
    Batch.objects.filter(session=session, stage="facets").delete()
    Batch.objects.bulk_create(
        Batch(
            session=session, stage="facets", seq=seq, first=100 * seq, last=100 * seq + 100,
            status=WorkStatus.DONE, finished_at=now - timedelta(seconds=every * seq + 1),
        )
        for seq in range(int(60 / every))
    )  # fmt: skip


def told(session: AnalysisSession) -> Outlook:
    found = Outlook.from_json(AnalysisSession.objects.get(pk=session.pk).outlook)
    assert found is not None
    return found


def test_remembered_on_the_row_at_most_every_two_seconds(
    busy: AnalysisSession, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(4):  # stages, batches, the time of a call, the write
        remember_outlook(busy, NOW)
    first = told(busy)
    # 6,000 left at 10 a second, and 15 % of 1,000 s for what follows: 750 s.
    assert (first.likely - NOW).total_seconds() == pytest.approx(750, abs=1)
    with django_assert_num_queries(0):
        remember_outlook(busy, ahead(1))
    with django_assert_num_queries(3):
        remember_outlook(busy, ahead(2))
    left = live.progress_of(busy, ahead(2)).left
    assert left.text == "About 12 minutes left"
    assert f"could be {clock(first.early)}" in left.detail


def test_slower_answers_are_named(busy: AnalysisSession) -> None:
    calls(busy, 1_200)
    remember_outlook(busy, NOW)
    calls(busy, 2_400)
    reading(busy, ahead(3), every=20)
    remember_outlook(busy, ahead(3))
    assert told(busy).reason == "slower answers: 2.4 s instead of 1.2 s"
    assert "Changed: slower answers" in live.progress_of(busy, ahead(3)).left.detail
    assert "Changed" not in live.progress_of(busy, ahead(200)).left.detail, "words do not stay"


def test_a_limited_rate_is_named(busy: AnalysisSession) -> None:
    calls(busy, 1_200)
    remember_outlook(busy, NOW)
    call = LlmCall.objects.filter(analysis_id=busy.pk).latest("pk")
    refused = LlmAttempt.objects.create(call=call, error_class="rate_limit")
    LlmAttempt.objects.filter(pk=refused.pk).update(created_at=ahead(1))
    reading(busy, ahead(3), every=20)
    remember_outlook(busy, ahead(3))
    assert told(busy).reason == "the provider limits the rate"


def test_conversations_read_again_are_named(busy: AnalysisSession) -> None:
    remember_outlook(busy, NOW)
    busy.stages.filter(key="facets").update(items_done=500)
    remember_outlook(busy, ahead(3))
    assert told(busy).reason == "3,500 conversations are read again"


def test_a_pause_moves_the_range_by_its_length(busy: AnalysisSession) -> None:
    remember_outlook(busy, NOW)
    before = told(busy)
    for status, at in (("paused", 10), ("running", 250)):
        publish(busy.topic, StatusChanged(status=status))
        Event.objects.filter(pk=Event.objects.latest("pk").pk).update(created_at=ahead(at))
    reading(busy, ahead(260))
    busy.stages.filter(key="facets").update(items_done=4_100)
    remember_outlook(busy, ahead(260))
    after = told(busy)
    assert after.reason == "paused for 4 minutes"
    assert after.late - before.late <= timedelta(seconds=240)
    assert after.still == 240


def test_nothing_is_told_while_it_stands_still(busy: AnalysisSession) -> None:
    busy.status = SessionStatus.PAUSED
    remember_outlook(busy, NOW)
    assert AnalysisSession.objects.get(pk=busy.pk).outlook == {}
    assert live.progress_of(busy, NOW).left.text == "Paused"


def test_before_the_first_batches_the_estimate_is_told(going: AnalysisSession) -> None:
    going.stages.filter(key="facets").update(items_done=0)
    going.started_at = NOW
    assert live.progress_of(going, NOW).left.detail == ""
    going.estimate = local_estimate(10_000).to_json()
    left = live.progress_of(going, NOW).left
    assert left.text == "Working out the time left"
    assert left.detail.startswith("estimated to end between")


def test_a_range_that_has_passed_is_not_told_again(busy: AnalysisSession) -> None:
    remember_outlook(busy, NOW)
    left = live.progress_of(busy, ahead(5_000)).left
    assert left.text == "Taking longer than expected"


def test_expected_cost_is_a_range_about_what_is_still_to_come(going: AnalysisSession) -> None:
    assert live.progress_of(going).spend is None
    going.cost = Decimal("0.62")
    spend = live.progress_of(going).spend
    assert spend == Cost(
        pytest.approx(Decimal("0.9544")), Decimal("1.00"), pytest.approx(Decimal("1.114"))
    )


def calls(session: AnalysisSession, latency: int) -> None:
    start = LlmCall.objects.count()
    LlmCall.objects.bulk_create(
        LlmCall(
            workspace=session.project.workspace, analysis_id=session.pk,
            fingerprint=str(start + number), purpose="facets", provider="Acme", model="m",
            state=CallState.OK, sent_at=NOW, latency_ms=latency,
        )
        for number in range(40)
    )  # fmt: skip
