"""Progress, time left, batches, spending, news and the summary; with pinned numbers of queries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from analyses.models import AnalysisSession, Batch, Outcome, SessionStatus
from analyses.selectors import batches, live, news, notices, summary
from core.models import WorkStatus
from providers.models import CallState, LlmCall

Queries = Callable[[int], Any]


# --- Live ---------------------------------------------------------------------------------------


def test_progress_and_time_left(going: AnalysisSession, django_assert_num_queries: Queries) -> None:
    with django_assert_num_queries(2):
        progress = live.progress_of(going)
    assert (progress.read, progress.total, progress.percent) == (124, 200, 62)
    states = {stage.key: stage.state for stage in progress.stages}
    assert states["prepare"] == "done"
    assert states["facets"] == "now"
    assert states["map"] == ""
    assert progress.rate is not None
    assert progress.left.text.startswith(("About", "Less than a minute"))


def test_time_left_is_the_rest_at_the_present_rate(going: AnalysisSession) -> None:
    now = timezone.now()
    going.total = 10_000
    stage = going.stages.get(key="facets")
    stage.items_done = 4_000
    stage.started_at = now - timedelta(hours=1)
    stage.save()
    Batch.objects.filter(session=going, stage="facets").delete()
    Batch.objects.bulk_create(
        Batch(
            session=going, stage="facets", seq=seq, first=100 * seq, last=100 * seq + 100,
            status=WorkStatus.DONE, finished_at=now - timedelta(seconds=10 * seq + 1),
        )
        for seq in range(6)
    )  # fmt: skip
    progress = live.progress_of(going, now)
    assert progress.rate == pytest.approx(10.0)
    # 6,000 left at 10 a second, and 15 % of 1,000 s for what follows: 750 s.
    assert progress.left.text == "About 12 minutes left"


def test_time_left_is_unknown_at_first_and_plain_when_paused(going: AnalysisSession) -> None:
    going.stages.filter(key="facets").update(items_done=1)
    assert live.progress_of(going).left.text == "Working out the time left"
    going.status = SessionStatus.PAUSED
    assert live.progress_of(going).left.text == "Paused"


def test_batch_strip(going: AnalysisSession, django_assert_num_queries: Queries) -> None:
    with django_assert_num_queries(2):
        strip = batches.strip_of(going)
    assert (strip.total, strip.saved, strip.running, strip.retried) == (20, 12, 3, 1)
    assert strip.resume == 13
    assert strip.waiting == 5
    assert [cell.state for cell in strip.cells][:5] == ["d", "d", "d", "t", "d"]
    assert "12 saved" in strip.text


def test_batches_still_to_be_made_are_waiting(going: AnalysisSession) -> None:
    going.batches.filter(seq__gte=15).delete()
    going.stages.filter(key="facets").update(batches_total=20)
    strip = batches.strip_of(going)
    assert (strip.total, len(strip.cells), strip.waiting) == (20, 20, 5)
    assert strip.cells[-1].title == "Batch 20: waiting"


def test_very_many_batches_share_cells(going: AnalysisSession) -> None:
    Batch.objects.bulk_create(
        Batch(session=going, stage="facets", seq=seq, status=WorkStatus.DONE)
        for seq in range(20, 1000)
    )
    strip = batches.strip_of(going)
    assert strip.each == 4
    assert len(strip.cells) == 250
    assert strip.cells[3].state == "r", "the most telling state wins"


def test_spending_by_model(going: AnalysisSession) -> None:
    for number, (model, cost) in enumerate([("small", "0.01"), ("small", "0.02"), ("big", None)]):
        LlmCall.objects.create(
            workspace=going.project.workspace, analysis_id=going.pk, fingerprint=str(number),
            purpose="facets", provider="Acme", model=model, state=CallState.OK,
            cost=cost and Decimal(cost), sent_at=timezone.now(),
        )  # fmt: skip
    small, big = live.spend_of(going)
    assert (small.model, small.calls, small.cost) == ("small", 2, Decimal("0.03"))
    assert big.cost is None, "unpriced is not free"
    assert big.share == pytest.approx(1 / 3)


def test_expected_cost(going: AnalysisSession) -> None:
    assert live.expected_cost(going) is None
    going.cost = Decimal("0.62")
    assert live.expected_cost(going) == Decimal("1.00")


def test_news_are_sentences_newest_first(
    going: AnalysisSession, django_assert_num_queries: Queries
) -> None:
    with django_assert_num_queries(1):
        found = news.news_of(going)
    assert [row.text for row in found] == [
        "11 clusters so far, from 124 conversations.",
        "Batch 4: Its worker stopped; taken back.",
        "9 clusters so far, from 62 conversations.",
        "Prepare done in 2.4 s.",
        "Reading began or went on.",
    ]


def test_one_notice_at_most(done: AnalysisSession) -> None:
    assert notices.notice_of(done) is None
    done.notice = "Small sample."
    done.warnings = ["One cluster holds 60% of all conversations."]
    first = notices.notice_of(done)
    assert first is not None
    assert first.title == "One cluster holds 60% of all conversations."
    done.status, done.detail = SessionStatus.BLOCKED, "The key has expired. Replace it."
    blocked = notices.notice_of(done)
    assert blocked is not None
    assert blocked.tone == "bad"
    assert blocked.text == "The key has expired. Replace it. What was read is saved."


def test_insights_about_withheld_groups_stay_away(done: AnalysisSession) -> None:
    assert done.insights.count() == 3
    assert [insight.rank for insight in news.insights_of(done)] == [1, 2]


# --- Summary, starting --------------------------------------------------------------------------


def test_summary_puts_the_report_in_words(
    done: AnalysisSession, django_assert_num_queries: Queries
) -> None:
    with django_assert_num_queries(4):
        found = summary.summary_of(done)
    rows = {row.label: row.text for row in found.rows}
    assert rows["Coverage"] == "100%: 200 of 200 read"
    assert rows["Stability"] == "0.81 of 1 over resamples, firm"
    assert rows["Withheld groups"].startswith("1 hidden below 2 conversations, with")


def test_failures_by_reason(done: AnalysisSession) -> None:
    for position, error_class in enumerate(["timeout", "timeout", "bad_answer"]):
        done.items.filter(position=position).update(
            outcome=Outcome.FAILED, error_class=error_class, error=f"Why {error_class}"
        )
    first, second = summary.failures_of(done)
    assert (first.error_class, first.count, first.positions) == ("timeout", 2, [0, 1])
    assert second.message == "Why bad_answer"
