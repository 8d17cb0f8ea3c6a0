"""Stored answers: how long they are kept."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import QuerySet

from core.work import from_now
from providers.models import CallState, LlmCall

GROUP = 1000
"""Answers removed in one transaction."""


def purge_answers(*, days: int) -> int:
    """Remove the text of answers settled more than ``days`` ago; returns how many.

    Fingerprint, tokens and cost stay. A question that is put again is asked and paid again.
    """
    return _forget(LlmCall.objects.filter(settled_at__lt=from_now(-timedelta(days=days))))


def forget_vectors(analysis: int) -> int:
    """Remove the vectors an analysis was answered, once they are saved; returns how many calls.

    They are far larger than texts, and are of use only while the stage that asked may be repeated.
    """
    return _forget(LlmCall.objects.filter(analysis_id=analysis, purpose="embeddings"))


def _forget(calls: QuerySet[LlmCall]) -> int:
    kept = calls.filter(state=CallState.OK).exclude(response="").order_by("pk")
    count = 0
    while pks := list(kept.values_list("pk", flat=True)[:GROUP]):
        count += LlmCall.objects.filter(pk__in=pks).update(response="")
    return count
