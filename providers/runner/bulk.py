"""The durable side of batch mode: which calls a batch answers, and settling what it answered."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.db import close_old_connections, connection, transaction
from django.utils import timezone

from core.ids import uuid7
from core.work import owner_name
from providers.gateway.bulk import LineResult, Opened, Sought
from providers.gateway.collecting import Held
from providers.gateway.errors import TRAITS, ErrorClass, Fault
from providers.gateway.journal import JournalRow
from providers.gateway.types import Deployment
from providers.models import BulkState, CallState, LlmCall, ProviderBatch, ProviderBatchLine
from providers.prices import cost_of
from providers.runner.journal import written
from providers.services.books import Ledger
from providers.services.bulk import (
    FORGOTTEN,
    LISTED,
    UNWANTED,
    batched_config,
    expiry,
    hand_to,
)
from providers.services.lost import AT_PROVIDER

T = TypeVar("T")

MOST_MISSES = 2
"""A line that came back unanswered so often is not asked in batches again."""

FORGET_LATER = timedelta(minutes=10)
"""How long after its calls were put in doubt a batch is given up."""

MOST_REFUSALS = 3
"""A line whose whole batch was refused so often: the provider takes none of ours now."""


class _Threaded:
    """Runs database functions in one thread of their own."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bulk")

    async def _db(self, function: Callable[..., T], *args: Any) -> T:
        def work() -> T:
            close_old_connections()
            return function(*args)

        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def aclose(self) -> None:
        """Give back the thread and its connection."""
        await asyncio.get_running_loop().run_in_executor(self._thread, _hang_up)
        self._thread.shutdown(wait=True)


def _hang_up() -> None:
    """Close the calling thread's connection."""
    connection.close()


class DatabaseBulkStore(_Threaded):
    """Implements :class:`providers.gateway.bulk.BulkStore` for one workspace and process."""

    def __init__(self, workspace: int, owner: str = "") -> None:
        super().__init__()
        self._workspace = workspace
        self._owner = owner or owner_name()

    async def open(self, deployment: Deployment, names: Collection[str]) -> Opened:
        """Commit a batch of the calls that are still ours and may be sent."""
        return await self._db(self._open, deployment, list(names))

    async def sent(self, uid: str, number: str) -> None:
        """Commit the provider's number."""
        await self._db(_sent, uid, number)

    async def drop(self, uid: str) -> None:
        """Give the calls back to this process and forget the batch."""
        await self._db(self._drop, uid)

    async def leave(self, uid: str) -> None:
        """Leave it to whoever collects."""
        rows = ProviderBatch.objects.filter(uid=uid, state=BulkState.PREPARING)
        await self._db(lambda: rows.update(owner="", polled_at=timezone.now()))

    async def holder(self, name: str) -> str | None:
        """The uid of an open batch with a line of that name."""
        return await self._db(lambda: self._holders([name]).get(name))

    @transaction.atomic
    def _open(self, deployment: Deployment, names: Sequence[str]) -> Opened:
        now = Ledger(self._workspace).now
        calls = {
            call.fingerprint: call
            for call in LlmCall.objects.filter(
                workspace=self._workspace,
                fingerprint__in=names,
                state=CallState.SENT,
                owner=self._owner[:120],
            ).only("fingerprint", "analysis_id")
        }
        parked = self._holders(names)
        refused = self._given_up(set(names) - parked.keys())
        for name in set(names) - calls.keys() - parked.keys():
            refused[name] = Fault(ErrorClass.CANCELLED, "no longer this process's", sent=False)
        send = [name for name in names if name not in parked and name not in refused]
        uid = str(uuid7())
        if send:
            batch = ProviderBatch.objects.create(
                uid=uid,
                workspace_id=self._workspace,
                deployment_id=int(deployment.id),
                analysis_id=calls[send[0]].analysis_id,
                owner=self._owner[:120],
                size=len(send),
                created_at=now,
                expires_at=expiry(now),
            )
            ProviderBatchLine.objects.bulk_create(
                (ProviderBatchLine(batch=batch, custom_id=name) for name in send), batch_size=500
            )
            hand_to(uid, (calls[name].pk for name in send), now + FORGOTTEN)
        return Opened(uid, frozenset(send), parked, refused)

    def _holders(self, names: Iterable[str]) -> dict[str, str]:
        lines = ProviderBatchLine.objects.filter(
            custom_id__in=list(names),
            outcome="",
            batch__workspace=self._workspace,
            batch__state__in=(BulkState.PREPARING, BulkState.WORKING),
        )
        return {name: str(uid) for name, uid in lines.values_list("custom_id", "batch__uid")}

    def _given_up(self, names: Iterable[str]) -> dict[str, Fault]:
        """Calls that earlier batches did not answer, with what to tell of them; told once."""
        lines: dict[str, list[ProviderBatchLine]] = defaultdict(list)
        for line in ProviderBatchLine.objects.filter(
            custom_id__in=list(names),
            batch__workspace=self._workspace,
            batch__state=BulkState.ENDED,
        ).order_by("pk"):
            lines[line.custom_id].append(line)
        found = {name: _verdict(rows) for name, rows in lines.items()}
        told = {name: fault for name, fault in found.items() if fault is not None}
        ProviderBatchLine.objects.filter(
            pk__in=[line.pk for name in told for line in lines[name]]
        ).delete()
        return told

    @transaction.atomic
    def _drop(self, uid: str) -> None:
        now = Ledger(self._workspace).now
        LlmCall.objects.filter(
            workspace=self._workspace, owner=f"{AT_PROVIDER}{uid}", state=CallState.SENT
        ).update(owner=self._owner[:120], sent_until=now + FORGOTTEN)
        ProviderBatch.objects.filter(uid=uid).delete()


def _sent(uid: str, number: str) -> None:
    rows = ProviderBatch.objects.filter(uid=uid).exclude(state=BulkState.ENDED)
    rows.update(state=BulkState.WORKING, remote_id=number, owner="", polled_at=timezone.now())


def _verdict(lines: Sequence[ProviderBatchLine]) -> Fault | None:
    """What earlier batches say of a call: ``None`` when it may be asked in another."""
    last = lines[-1]
    if last.outcome == "failed":
        fault = _fault(last.answer)
        if not TRAITS[fault.error_class].retryable:
            return fault
    refused = sum(line.outcome == "refused" for line in lines)
    if refused >= MOST_REFUSALS:
        return Fault(ErrorClass.QUOTA, "the provider takes none of the batches", sent=False)
    if len(lines) - refused >= MOST_MISSES:
        return Fault(
            ErrorClass.BAD_ANSWER, f"no answer in {len(lines) - refused} batches", sent=False
        )
    return None


def _fault(answer: Any) -> Fault:
    """The fault that a line came back with."""
    said: Mapping[str, Any] = answer if isinstance(answer, dict) else {}
    return Fault(
        ErrorClass(said.get("class", ErrorClass.SERVER)),
        str(said.get("detail", "")),
        status=said.get("status"),
        sent=False,
        rejected=str(said.get("rejected", "")),
    )


class DatabaseBook(_Threaded):
    """Implements :class:`providers.gateway.collecting.Book` for one batch."""

    def __init__(self, batch: ProviderBatch) -> None:
        super().__init__()
        self._batch = batch
        self._deployment: Deployment | None = None

    async def configured(self) -> Deployment:
        """How the batch's provider is asked. Raises :class:`core.errors.Invalid`."""
        self._deployment = await self._db(batched_config, self._batch.deployment)
        return self._deployment

    async def held(self, now: datetime) -> Held:
        """What is known of the batch."""
        return await self._db(self._held, now)

    def _held(self, now: datetime) -> Held:
        batch = self._batch
        others = ProviderBatch.objects.filter(deployment__provider=batch.deployment.provider)
        known = others.exclude(pk=batch.pk).exclude(remote_id="")
        since = known.filter(created_at__gte=batch.created_at - timedelta(days=1))
        late = batch.expires_at is not None and now > batch.expires_at
        return Held(
            Sought(
                str(batch.uid),
                batch.created_at,
                batch.size,
                frozenset(since.values_list("remote_id", flat=True)),
            ),
            number=batch.remote_id,
            listed=now > batch.created_at + LISTED,
            unwanted=late or batch.remote_state == UNWANTED,
            overdue=now > batch.created_at + FORGOTTEN + FORGET_LATER,
        )

    async def sent(self, uid: str, number: str) -> None:
        """It was found at the provider."""
        await self._db(_sent, uid, number)

    async def lost(self, uid: str) -> None:
        """It never arrived: nothing of it can be billed."""
        await self._db(self._close, BulkState.LOST, "", "network", "The batch never arrived.")

    async def looked(self, uid: str, state: str, done: int) -> None:
        """It still works."""
        await self._db(self._looked, state)

    async def keep(self, uid: str, results: Sequence[LineResult]) -> None:
        """Settle the calls of lines, each once."""
        await self._db(self._keep, results)

    async def end(self, uid: str, state: str, *, expired: bool) -> None:
        """Give up the lines that have no outcome."""
        word = "expired" if expired else "missing"
        text = "It expired in the batch." if expired else "It was missing from the batch."
        await self._db(self._close, BulkState.ENDED, word, "timeout", text, state)

    def _looked(self, state: str) -> None:
        rows = ProviderBatch.objects.filter(pk=self._batch.pk, state=BulkState.WORKING)
        if self._batch.remote_state == UNWANTED:
            rows.update(polled_at=timezone.now())
        else:
            rows.exclude(remote_state=UNWANTED).update(remote_state=state[:40])

    @transaction.atomic
    def _keep(self, results: Sequence[LineResult]) -> None:
        Ledger(self._batch.workspace_id)  # one collector at a time
        by_name = {result.custom_id: result for result in results}
        lines = list(self._batch.lines.filter(custom_id__in=by_name.keys(), outcome=""))
        calls = self._calls([line.custom_id for line in lines])
        rows = []
        for line in lines:
            result = by_name[line.custom_id]
            line.outcome = "ok" if result.answer is not None else "failed"
            if result.fault is not None:
                line.answer = _said(result.fault)
            call = calls.get(line.custom_id)
            if call is not None:
                rows.append(self._outcome(call, result))
        written(self._batch.workspace_id, rows)
        ProviderBatchLine.objects.bulk_update(lines, ["outcome", "answer"], batch_size=500)
        self._batch.refresh_from_db(fields=["collected"])
        self._batch.collected += sum(line.outcome == "ok" for line in lines)
        self._batch.save(update_fields=["collected"])

    def _calls(self, names: Sequence[str]) -> dict[str, LlmCall]:
        """The calls among the names that still wait for this batch."""
        rows = LlmCall.objects.filter(
            workspace=self._batch.workspace_id,
            fingerprint__in=names,
            owner=f"{AT_PROVIDER}{self._batch.uid}",
            state__in=(CallState.SENT, CallState.DOUBT),
        )
        return {call.fingerprint: call for call in rows.defer("response")}

    def _outcome(self, call: LlmCall, result: LineResult) -> JournalRow:
        row = journal_row(call)
        if result.answer is None:
            return _failed(row, result.fault or Fault(ErrorClass.SERVER))
        answer = result.answer
        target = self._deployment
        cost = (
            None
            if target is None
            else cost_of(
                target,
                target.model,
                answer.tokens_in,
                answer.tokens_out,
                answer.tokens_cached,
            )
        )
        return replace(
            row,
            state="ok",
            response=answer.text,
            tokens_in=answer.tokens_in,
            tokens_out=answer.tokens_out,
            tokens_cached=answer.tokens_cached,
            tokens_reasoning=answer.tokens_reasoning,
            cost=cost,
        )

    @transaction.atomic
    def _close(
        self, state: str, word: str, error_class: str, text: str, remote_state: str = ""
    ) -> None:
        """End the batch; calls it leaves unanswered were not billed and may be asked again."""
        ledger = Ledger(self._batch.workspace_id)
        batch = ProviderBatch.objects.get(pk=self._batch.pk)
        if batch.state in (BulkState.ENDED, BulkState.LOST):
            return
        left = list(batch.lines.filter(outcome="").values_list("custom_id", flat=True))
        if word and not batch.collected and remote_state.lower() == "failed":
            word = "refused"
        fault = Fault(ErrorClass(error_class), text, sent=bool(word))
        for first in range(0, len(left), 500):
            calls = self._calls(left[first : first + 500])
            rows = [_failed(journal_row(call), fault) for call in calls.values()]
            written(batch.workspace_id, rows)
        if word:
            batch.lines.filter(outcome="").update(outcome=word)
            batch.lines.filter(outcome="ok").delete()
        else:
            batch.lines.all().delete()
        batch.state, batch.remote_state, batch.missing = state, remote_state[:40], len(left)
        batch.ended_at, batch.owner = ledger.now, ""
        batch.save()


def journal_row(call: LlmCall) -> JournalRow:
    """The journal's row of a call as it was sent."""
    return JournalRow(
        fingerprint=call.fingerprint,
        workspace=call.workspace_id,
        session=call.analysis_id,
        project=call.project_id,
        purpose=call.purpose,
        provider=call.provider,
        model=call.model,
        prompt_version=call.prompt_version,
        owner=call.owner,
        ticket=call.ticket,
        deployment="" if call.deployment_id is None else str(call.deployment_id),
        user=call.user_id,
        key=call.key_id,
        batched=True,
    )


def _failed(row: JournalRow, fault: Fault) -> JournalRow:
    return replace(
        row,
        state="failed",
        error_class=fault.error_class.value,
        message=fault.detail,
        in_doubt=False,
        unsent=not fault.sent,
    )


def _said(fault: Fault) -> dict[str, Any]:
    return {
        "class": fault.error_class.value,
        "detail": fault.detail[:300],
        "status": fault.status,
        "rejected": fault.rejected[:40],
    }
