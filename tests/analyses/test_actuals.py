"""A finished analysis against its estimate."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from analyses.models import AnalysisSession, SessionStatus
from analyses.pipeline.forecast import Range
from analyses.selectors.actuals import actuals_of, difference
from analyses.selectors.estimates import Cost, Estimate, StageEstimate
from analyses.selectors.estimating import local_estimate
from providers.models import CallState, LlmCall


@pytest.mark.parametrize(
    ("actual", "expected", "words"),
    [
        (96, 100, "4.0% under the estimate"),
        (150, 100, "50% over the estimate"),
        (1004, 1000, "as estimated"),
        (5, 0, ""),
    ],
)
def test_differences_in_words(actual: float, expected: float, words: str) -> None:
    assert difference(actual, expected) == words


@pytest.fixture
def paid(done: AnalysisSession) -> AnalysisSession:
    """Estimated at 200 calls, 200,000 tokens and $1.00; it took 180,000 and $0.90."""
    stage = StageEstimate(
        "facets",
        Range(200, 200, 206),
        Range(190_000, 200_000, 210_000),
        Range(10_000, 20_000, 30_000),
        Cost(Decimal("0.90"), Decimal("1.00"), Decimal("1.20")),
    )
    done.estimate = Estimate(200, 50, (stage,), Range(100, 200, 400)).to_json()
    done.tokens_in, done.tokens_out, done.cost = 180_000, 20_010, Decimal("0.90")
    done.started_at = timezone.now() - timedelta(seconds=300)
    done.finished_at = timezone.now()
    done.save()
    LlmCall.objects.bulk_create(
        LlmCall(
            workspace=done.project.workspace, analysis_id=done.pk, fingerprint=str(number),
            purpose="facets", provider="Acme", model="m", state=CallState.OK,
            sent_at=timezone.now(), tokens_in=900, tokens_out=100, cost=Decimal("0.0045"),
        )
        for number in range(200)
    )  # fmt: skip
    return done


def test_actual_against_estimate(paid: AnalysisSession, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        found = actuals_of(paid)
    assert found is not None
    assert {row.label: row.words for row in found.rows} == {
        "Tokens sent": "10% under the estimate",
        "Tokens answered": "as estimated",
        "Cost": "10% under the estimate",
        "Time": "within the estimate",
    }
    (stage,) = found.stages
    assert (stage.calls, stage.tokens_in) == (200, 180_000)
    assert stage.cost == pytest.approx(Decimal("0.9"))
    assert stage.short == "9.1% under"


def test_unpriced_costs_are_not_compared(paid: AnalysisSession) -> None:
    paid.unpriced_calls = 3
    found = actuals_of(paid)
    assert found is not None
    assert "Cost" not in {row.label for row in found.rows}


def test_no_comparison_without_an_estimate_or_an_end(paid: AnalysisSession) -> None:
    paid.status = SessionStatus.CANCELLED
    assert actuals_of(paid) is None
    paid.status, paid.estimate = SessionStatus.COMPLETED, {}
    assert actuals_of(paid) is None


def test_the_local_engine_is_compared_by_time_alone(paid: AnalysisSession) -> None:
    paid.estimate = local_estimate(200).to_json()
    found = actuals_of(paid)
    assert found is not None
    assert [row.label for row in found.rows] == ["Time"]
    assert found.stages == []


def test_the_summary_says_so(viewer_client: Client, paid: AnalysisSession) -> None:
    address = reverse("analyses:summary", args=[paid.project.slug, paid.number])
    page = viewer_client.get(address).content.decode()
    assert "Against the estimate" in page
    assert "10% under the estimate" in page
