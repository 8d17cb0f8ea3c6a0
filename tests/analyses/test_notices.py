"""Notices: what a person is told, in which order, and how it is dismissed."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from analyses.models import AnalysisSession, Outcome
from analyses.selectors import notices
from providers.models import (
    SpendLimit,
)
from tests.analyses.live_support import STATES, at, change, paid, spend, told

__all__ = ["paid"]


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
