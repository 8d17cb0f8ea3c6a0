"""Remembering which stored answers were read, without a write for each read."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
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
    """Reads of one process: noted as use for the order of removal, and as savings where an answer
    served that the asking analysis had not bought itself.

    A process that dies loses the counts of its last seconds; nothing depends on them.
    """

    def __init__(self, workspace: int) -> None:
        self._workspace = workspace
        self._hits: list[Hit] = []
        self._used: set[int] = set()
        self._since = time.monotonic()

    def note(self, rows: Iterable[LlmCall]) -> None:
        """Take note of answers that were read; writes now and then."""
        self._used.update(row.pk for row in rows)
        self._flush_in_time()

    def count(self, answer: StoredAnswer, purpose: str, project: int | None) -> None:
        """Take note of a call that was spared; writes now and then."""
        self._hits.append((project or 0, purpose, replace(answer, text="")))
        self._flush_in_time()

    def _flush_in_time(self) -> None:
        waits = self._hits or self._used
        if waits and time.monotonic() - self._since > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write down what was noted; counts are not worth failing a call for."""
        hits, used = self._hits, self._used
        self._hits, self._used, self._since = [], set(), time.monotonic()
        if not hits and not used:
            return
        now = timezone.now()
        stale = Q(used_at__isnull=True) | Q(used_at__lt=now - COARSE)
        try:
            count_hits(self._workspace, hits)
            LlmCall.objects.filter(stale, pk__in=used).update(used_at=now)
        except DatabaseError:
            return
