"""What waits at providers in batches, for pages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Max, Min, Sum

from providers.models import BulkState, ProviderBatch
from providers.models.batches import EXPECTED


@dataclass(frozen=True, slots=True)
class AtProvider:
    """Calls of an analysis that wait in batches at a provider.

    ``collected`` of them were answered in batches that are over. ``sent_at`` is when the oldest
    of the open batches was handed over, ``expected_at`` when the newest has to be over.
    """

    provider: str
    calls: int
    collected: int
    sent_at: datetime
    expected_at: datetime


def at_provider(analysis_id: int) -> AtProvider | None:
    """What of an analysis is at its provider now; ``None`` when nothing is. Two queries."""
    rows = ProviderBatch.objects.filter(analysis_id=analysis_id)
    waiting = rows.filter(state__in=(BulkState.PREPARING, BulkState.WORKING)).order_by()
    found = (
        waiting.values("deployment__provider__name")
        .annotate(calls=Sum("size"), first=Min("created_at"), last=Max("created_at"))
        .order_by("deployment__provider__name")
        .first()
    )
    if found is None:
        return None
    return AtProvider(
        provider=found["deployment__provider__name"],
        calls=found["calls"],
        collected=rows.aggregate(total=Sum("collected"))["total"] or 0,
        sent_at=found["first"],
        expected_at=found["last"] + EXPECTED,
    )
