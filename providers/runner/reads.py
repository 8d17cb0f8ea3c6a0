"""Remembering which stored answers were read, without a write for each read."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import timedelta

from django.db import DatabaseError
from django.db.models import Q
from django.utils import timezone

from providers.gateway.journal import StoredAnswer
from providers.models import LlmCall
from providers.services.hits import Hit, count_hits

FLUSH_SECONDS = 5.0
"""How long reads are gathered before they are written down."""

COARSE = timedelta(hours=1)
"""``used_at`` is exact to so much: the least recently used need no finer order."""


class Reads:
    """Reads of one process: counted as savings, and noted as use for the order of removal.

    A process that dies loses the counts of its last seconds; nothing depends on them.
    """

    def __init__(self, workspace: int) -> None:
        self._workspace = workspace
        self._hits: list[Hit] = []
        self._used: set[int] = set()
        self._since = time.monotonic()

    def note(self, rows: Iterable[LlmCall]) -> None:
        """Take note of answers that were read; writes now and then."""
        for row in rows:
            answer = StoredAnswer(
                "",
                row.model,
                row.tokens_in,
                row.tokens_out,
                row.tokens_cached,
                None if row.cost is None else float(row.cost),
            )
            self._hits.append((row.project_id or 0, row.purpose, answer))
            self._used.add(row.pk)
        if self._hits and time.monotonic() - self._since > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write down what was noted; counts are not worth failing a call for."""
        hits, used = self._hits, self._used
        self._hits, self._used, self._since = [], set(), time.monotonic()
        if not hits:
            return
        now = timezone.now()
        stale = Q(used_at__isnull=True) | Q(used_at__lt=now - COARSE)
        try:
            count_hits(self._workspace, hits)
            LlmCall.objects.filter(stale, pk__in=used).update(used_at=now)
        except DatabaseError:
            return
