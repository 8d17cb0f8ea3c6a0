"""Worker-time shell of the gateway: deployments from rows, the journal in the database."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from django.db import close_old_connections, connection, transaction
from django.utils import timezone

from core.text import clean
from providers.gateway.journal import JournalRow, StoredAnswer
from providers.models import CallState, LlmAttempt, LlmCall


class DatabaseJournal:
    """The journal's store: one row per fingerprint and workspace, groups in one transaction."""

    def __init__(self, workspace_id: int) -> None:
        self._workspace = workspace_id

    def write(self, rows: Sequence[JournalRow]) -> None:
        """Commit intents, answers and failures of a group, in order."""
        close_old_connections()
        sent = {row.fingerprint: row for row in rows if row.state == "sent"}
        settled = {row.fingerprint: row for row in rows if row.state != "sent"}
        failures = [row for row in rows if row.state == "failed"]
        with transaction.atomic():
            self._intend(list(sent.values()))
            self._settle([row for key, row in settled.items() if not _resent(key, rows)])
            self._note(failures)

    def _intend(self, rows: Sequence[JournalRow]) -> None:
        fields = [
            "state",
            "sends",
            "repeats",
            "owner",
            "sent_at",
            "analysis_id",
            "model",
            "provider",
        ]
        self._upsert(rows, fields, self._lost(rows))

    def _lost(self, rows: Sequence[JournalRow]) -> dict[str, int]:
        """Repeats by fingerprint of calls whose earlier intent never got an answer."""
        owners = {row.fingerprint: row.owner for row in rows}
        found = LlmCall.objects.filter(
            workspace=self._workspace, fingerprint__in=owners
        ).values_list("fingerprint", "state", "owner", "repeats")
        return {
            key: repeats + (state == CallState.SENT and owner != owners[key])
            for key, state, owner, repeats in found
        }

    def _settle(self, rows: Sequence[JournalRow]) -> None:
        fields = [
            "state",
            "response",
            "tokens_in",
            "tokens_out",
            "tokens_cached",
            "cost",
            "latency_ms",
            "error_class",
            "settled_at",
            "model",
            "provider",
            "sends",
        ]
        self._upsert(rows, fields)

    def _upsert(
        self, rows: Sequence[JournalRow], fields: list[str], repeats: dict[str, int] | None = None
    ) -> None:
        known = repeats or {}
        if rows:
            LlmCall.objects.bulk_create(
                # In one order everywhere, or two processes could wait for each other's rows.
                [
                    self._call(row, known.get(row.fingerprint, 0))
                    for row in sorted(rows, key=lambda row: row.fingerprint)
                ],
                update_conflicts=True,
                unique_fields=["workspace", "fingerprint"],
                update_fields=fields,
            )

    def _call(self, row: JournalRow, repeats: int) -> LlmCall:
        now = timezone.now()
        return LlmCall(
            workspace_id=self._workspace,
            analysis_id=row.session,
            fingerprint=row.fingerprint,
            purpose=row.purpose[:20],
            provider=row.provider[:80],
            model=clean(row.model)[:120],
            prompt_version=row.prompt_version[:40],
            state=row.state,
            response=clean(row.response),
            tokens_in=row.tokens_in,
            tokens_out=row.tokens_out,
            tokens_cached=row.tokens_cached,
            cost=None if row.cost is None else Decimal(str(round(row.cost, 8))),
            latency_ms=row.latency_ms,
            error_class=row.error_class[:20],
            sends=row.attempt,
            repeats=repeats,
            owner=row.owner,
            sent_at=now,
            settled_at=None if row.state == "sent" else now,
        )

    def _note(self, rows: Sequence[JournalRow]) -> None:
        """Each failed attempt is a row of its own, with its class."""
        if not rows:
            return
        ids = dict(
            LlmCall.objects.filter(
                workspace=self._workspace, fingerprint__in=[row.fingerprint for row in rows]
            ).values_list("fingerprint", "pk")
        )
        LlmAttempt.objects.bulk_create(
            LlmAttempt(
                call_id=ids[row.fingerprint],
                error_class=row.error_class[:20],
                message=clean(row.message)[:300],
                latency_ms=row.latency_ms,
            )
            for row in rows
        )

    def read(self, fingerprints: Sequence[str]) -> dict[str, StoredAnswer]:
        """Answers that were settled before."""
        close_old_connections()
        rows = LlmCall.objects.filter(
            workspace=self._workspace, fingerprint__in=set(fingerprints), state=CallState.OK
        )
        return {
            row.fingerprint: StoredAnswer(
                row.response,
                row.model,
                row.tokens_in,
                row.tokens_out,
                row.tokens_cached,
                None if row.cost is None else float(row.cost),
            )
            for row in rows
        }

    def close(self) -> None:
        """Give back this thread's connection."""
        connection.close()


def _resent(fingerprint: str, rows: Sequence[JournalRow]) -> bool:
    """Whether the last row of this call in the group is an intent: then nothing is settled."""
    last = [row for row in rows if row.fingerprint == fingerprint][-1]
    return last.state == "sent"
