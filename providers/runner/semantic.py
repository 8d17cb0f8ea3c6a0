"""The semantic cache's questions in the database."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from django.db import close_old_connections, connection, transaction
from django.db.models import F

from providers.gateway.journal import StoredAnswer
from providers.gateway.semantic import Kept, Question, Vector
from providers.models import CallState, LlmCall, Route, SemanticEntry
from providers.runner.journal import stored
from providers.services.hits import count_hits

MOST_NEAR = 200
"""Newest questions of one space and guard that are compared."""

MOST_KEPT = 50_000
"""Questions kept for a workspace and purpose; the oldest go first."""


class DatabaseSemantic:
    """Implements :class:`providers.gateway.semantic.SemanticStore`."""

    def near(self, workspace: int, project: int, question: Question) -> Sequence[Kept]:
        """The newest questions that may match, with their answers. One query."""
        close_old_connections()
        rows = (
            SemanticEntry.objects.filter(
                workspace=workspace,
                project_id=project,
                space=question.space,
                guard=question.guard,
                call__state=CallState.OK,
            )
            .exclude(call__response="")
            .select_related("call")
            .order_by("-pk")[:MOST_NEAR]
        )
        return [
            Kept(
                np.frombuffer(bytes(row.vector), dtype="<f4").astype(np.float32),
                str(row.call.deployment_id or ""),
                row.call.fingerprint,
                stored(row.call),
            )
            for row in rows
        ]

    def add(
        self, workspace: int, project: int, question: Question, vector: Vector, fingerprint: str
    ) -> None:
        """Keep a question; one whose call has no row, or that is kept already, is left out."""
        close_old_connections()
        call = LlmCall.objects.filter(workspace=workspace, fingerprint=fingerprint).only("pk")
        with transaction.atomic():
            row = call.first()
            if row is None or row.semantic.exists():
                return
            SemanticEntry.objects.create(
                workspace_id=workspace,
                project_id=project,
                purpose=question.purpose[:20],
                space=question.space,
                guard=question.guard,
                vector=np.ascontiguousarray(vector, dtype="<f4").tobytes(),
                call=row,
            )
            self._bound(workspace, question.purpose)

    def _bound(self, workspace: int, purpose: str) -> None:
        mine = SemanticEntry.objects.filter(workspace=workspace, purpose=purpose[:20])
        edge = mine.order_by("-pk").values_list("pk", flat=True)[MOST_KEPT : MOST_KEPT + 1]
        for pk in edge:
            mine.filter(pk__lte=pk).delete()

    def agreement(self, workspace: int, purpose: str) -> tuple[int, int]:
        """Compared and agreed so far."""
        found = Route.objects.filter(workspace=workspace, purpose=purpose).values_list(
            "shadow_compared", "shadow_agreed"
        )
        return found.first() or (0, 0)

    def compared(self, workspace: int, purpose: str, agreed: bool) -> None:
        """Count one comparison on the route."""
        Route.objects.filter(workspace=workspace, purpose=purpose).update(
            shadow_compared=F("shadow_compared") + 1, shadow_agreed=F("shadow_agreed") + int(agreed)
        )

    def used(self, workspace: int, project: int, purpose: str, answer: StoredAnswer) -> None:
        """Count one answer that was not bought."""
        count_hits(workspace, [(project, purpose, answer)], semantic=True)

    def close(self) -> None:
        """Give back this thread's connection."""
        connection.close()
