"""Counting answers that were used again instead of bought."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from providers.gateway.journal import StoredAnswer
from providers.models import CacheDay

Hit = tuple[int, str, StoredAnswer]
"""Project (0: outside one), purpose, and the answer that was used."""


@transaction.atomic
def count_hits(workspace: int, hits: Iterable[Hit], *, semantic: bool = False) -> None:
    """Add to today's sums (UTC), by project and purpose; an unpriced answer saves tokens only."""
    sums: dict[tuple[int, str], list[StoredAnswer]] = defaultdict(list)
    for project, purpose, answer in hits:
        sums[project, purpose[:20]].append(answer)
    # In one order, so that two processes never wait for each other.
    for (project, purpose), answers in sorted(sums.items()):
        _add(workspace, project, purpose, answers, semantic)


def _add(
    workspace: int, project: int, purpose: str, answers: list[StoredAnswer], semantic: bool
) -> None:
    row, _ = CacheDay.objects.get_or_create(
        workspace_id=workspace, project_id=project, purpose=purpose, day=timezone.now().date()
    )
    count = len(answers)
    CacheDay.objects.filter(pk=row.pk).update(
        hits=F("hits") + count,
        semantic_hits=F("semantic_hits") + (count if semantic else 0),
        tokens_saved=F("tokens_saved") + sum(one.tokens_in + one.tokens_out for one in answers),
        saved=F("saved") + sum((Decimal(str(one.cost or 0)) for one in answers), Decimal(0)),
    )
