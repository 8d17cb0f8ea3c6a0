"""The journal in the database, and the books it moves."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import close_old_connections, connection, transaction
from django.utils import timezone

from core.text import clean
from providers.gateway.journal import JournalRow, StoredAnswer, Verdict, Verdicts, fresh
from providers.models import CallState, LlmAttempt, LlmCall
from providers.runner.reads import Reads
from providers.services.books import NOTHING, Ledger, amount, scopes_of
from providers.services.limits import refusal, unpriced_refusal
from providers.services.lost import AT_PROVIDER, FOUND, LOST, LOST_TEXT, is_lost, never_left
from providers.services.use import UseLedger, use_refusal

MOST_TOKENS = 2**31 - 1


class DatabaseJournal:
    """The journal's store: one row per fingerprint and workspace, groups in one transaction.

    A group holds the workspace's lock: of two processes that ask the same at the same moment one
    sends and the other waits, and calls that race for the last cent of a limit come one after
    the other.
    """

    def __init__(self, workspace_id: int) -> None:
        self._workspace = workspace_id
        self._reads = Reads(workspace_id)

    def write(self, rows: Sequence[JournalRow]) -> Verdicts:
        """Commit intents, answers and failures of a group, in order; decides on the intents."""
        close_old_connections()
        return written(self._workspace, rows)

    def read(self, fingerprints: Sequence[str]) -> dict[str, StoredAnswer]:
        """Answers that were settled before and are still kept."""
        close_old_connections()
        rows = LlmCall.objects.filter(
            workspace=self._workspace, fingerprint__in=set(fingerprints), state=CallState.OK
        ).exclude(response="")
        found = {row.fingerprint: row for row in rows}
        self._reads.note(found.values())
        return {fingerprint: stored(row) for fingerprint, row in found.items()}

    def spared(self, answer: StoredAnswer, purpose: str, project: int | None) -> None:
        """Count an answer that served instead of a call; written down with the reads."""
        self._reads.count(answer, purpose, project)

    def close(self) -> None:
        """Give back this thread's connection."""
        self._reads.flush()
        connection.close()


def stored(row: LlmCall) -> StoredAnswer:
    """The answer a row keeps, with its age by this host's clock."""
    age = (timezone.now() - row.settled_at).total_seconds() if row.settled_at else 0.0
    return StoredAnswer(
        row.response,
        row.model,
        row.tokens_in,
        row.tokens_out,
        row.tokens_cached,
        None if row.cost is None else float(row.cost),
        max(0.0, age),
        row.analysis_id,
    )


def written(workspace: int, rows: Sequence[JournalRow]) -> Verdicts:
    """Write a group, in a transaction of its own or within the caller's."""
    if not rows:
        return {}
    with transaction.atomic():
        group = _Group(workspace, rows)
        for row in rows:
            group.apply(row)
        group.save()
    return group.verdicts


class _Group:
    """Applies the rows of one transaction to the calls and the books.

    Calls are changed in memory and written together: about eight statements for thirty rows.
    """

    def __init__(self, workspace: int, rows: Sequence[JournalRow]) -> None:
        self._workspace = workspace
        self._ledger = Ledger(workspace)
        self._ledger.open(scope for row in rows for scope in self._scopes(row))
        self._use = UseLedger(self._ledger)
        self._calls = self._load({row.fingerprint for row in rows})
        self._touched: dict[int, tuple[LlmCall, bool]] = {}
        self._attempts: list[LlmAttempt] = []
        self.verdicts: dict[int, Verdict] = {}

    def _load(self, fingerprints: Iterable[str]) -> dict[str, LlmCall]:
        rows = LlmCall.objects.filter(workspace=self._workspace, fingerprint__in=fingerprints)
        return {row.fingerprint: row for row in rows.defer("response")}

    def _scopes(self, row: JournalRow) -> tuple[str, ...]:
        return scopes_of(self._workspace, row.project, row.session)

    def apply(self, row: JournalRow) -> None:
        """Take in the next row."""
        if row.state == "sent":
            verdict = self._intend(row)
            if verdict is not None:
                self.verdicts[row.ticket] = verdict
        elif row.state == "ok":
            self._settle(row)
        else:
            self._fail(row)

    # Intents

    def _intend(self, row: JournalRow) -> Verdict | None:
        call = self._calls.get(row.fingerprint)
        if call is not None and call.state == CallState.SENT:
            if _same_send(call, row):
                return None  # a group whose commit was reported lost, and was not
            if not is_lost(call.owner, call.sent_until, self._ledger.now):
                return _elsewhere(call)
            self._lose(call)
        if call is not None and call.state == CallState.OK:
            answer = stored(call)
            if answer.text and fresh(answer, row.max_age, row.session):
                return Verdict("answered", answer=answer)
        return self._refused(row) or self._overused(row) or self._open(row, call)

    def _refused(self, row: JournalRow) -> Verdict | None:
        """Whether a limit leaves no room. Free calls are always let through."""
        scopes = self._scopes(row)
        cost = amount(row.reserved)
        if cost is None:
            limit = self._ledger.limited(scopes)
            return None if limit is None else Verdict("refused", unpriced_refusal(limit, row.model))
        if not cost:
            return None
        short = self._ledger.shortage(scopes, cost)
        if short is None:
            return None
        return Verdict("wait") if short.passing else Verdict("refused", refusal(short, cost))

    def _overused(self, row: JournalRow) -> Verdict | None:
        """Whether who asks may not ask so much; a minute's limit and calls now out pass."""
        short = self._use.shortage(row)
        if short is None:
            return None
        return Verdict("wait") if short.passing else Verdict("refused", use_refusal(short))

    def _open(self, row: JournalRow, call: LlmCall | None) -> Verdict | None:
        """Write the intent down and reserve its cost."""
        doubted, repeats = None, 0
        if call is not None and _was_doubted(call):
            doubted = max(0.0, (self._ledger.now - call.sent_at).total_seconds())
            repeats = int(call.state == CallState.DOUBT)
        if call is not None and (call.state == CallState.OK or not _same_payer(call, row)):
            self._retire(call)
            call = None
        if call is None:
            call = self._calls[row.fingerprint] = self._new(row)
        call.repeats += repeats
        call.sends += 1
        _describe(call, row)
        call.state = CallState.SENT
        call.sent_at = self._ledger.now
        call.sent_until = self._ledger.now + timedelta(seconds=row.open_for)
        call.settled_at = None
        cost = amount(row.reserved)
        call.priced, call.reserved = cost is not None, cost or NOTHING
        call.tokens_reserved = _tokens(row.tokens_reserved)
        self._move(call, call.sent_at, reserved=call.reserved)
        self._use.sent(call)
        self._touch(call)
        return None if doubted is None else Verdict(doubted=doubted)

    # Answers and failures

    def _settle(self, row: JournalRow) -> None:
        """Book an answer; the second answer of one call changes nothing."""
        call = self._called(row)
        if call.state == CallState.OK or (call.state and not _same_send(call, row)):
            return
        if row.found or call.state == CallState.DOUBT:
            self._undoubt(call)
            call.sends -= row.found
        self._release(call)
        _describe(call, row)
        call.state, call.error_class = CallState.OK, ""
        call.response = clean(row.response)
        call.tokens_in = _tokens(row.tokens_in)
        call.tokens_out = _tokens(row.tokens_out)
        call.tokens_cached = _tokens(row.tokens_cached)
        call.tokens_reasoning = _tokens(row.tokens_reasoning)
        call.cost = amount(row.cost)
        self._use.answered(call)
        call.latency_ms, call.settled_at = row.latency_ms, self._ledger.now
        self._move(call, call.sent_at, spent=call.cost or NOTHING)
        self._touch(call, answered=True)

    def _fail(self, row: JournalRow) -> None:
        """Book a send that brought no answer, with its class; in doubt if it may be billed."""
        call = self._called(row)
        if call.state not in ("", CallState.SENT) or (call.state and not _same_send(call, row)):
            return
        held = self._release(call)
        _describe(call, row)
        call.state = CallState.DOUBT if row.in_doubt else CallState.FAILED
        call.error_class = row.error_class[:20]
        call.latency_ms, call.settled_at = row.latency_ms, self._ledger.now
        call.sends -= row.unsent
        if row.unsent:
            self._use.unsent(call)
        attempt = self._attempt(call, row.error_class, row.message, row.in_doubt, held)
        attempt.latency_ms = row.latency_ms
        self._touch(call)

    def _called(self, row: JournalRow) -> LlmCall:
        """The call of a row; one without an intent is new, with an empty state."""
        call = self._calls.get(row.fingerprint)
        if call is None:
            call = self._calls[row.fingerprint] = self._new(row)
            _describe(call, row)
            call.state, call.sends, call.sent_at = "", 1, self._ledger.now
        return call

    def _new(self, row: JournalRow) -> LlmCall:
        return LlmCall(workspace_id=self._workspace, fingerprint=row.fingerprint, sends=0)

    def _lose(self, call: LlmCall) -> None:
        """A send whose asker is gone: in doubt, with all it can have cost."""
        held, doubted = self._release(call), not never_left(call)
        call.state = CallState.DOUBT if doubted else CallState.FAILED
        call.error_class, call.settled_at = LOST, self._ledger.now
        call.sends -= not doubted
        self._attempt(call, LOST, LOST_TEXT, doubted, held)
        self._touch(call)

    def _attempt(
        self, call: LlmCall, error_class: str, message: str, in_doubt: bool, held: Decimal
    ) -> LlmAttempt:
        attempt = LlmAttempt(
            call=call,
            error_class=error_class[:20],
            message=clean(message)[:300],
            in_doubt=in_doubt,
            cost=held if in_doubt and call.priced else None,
            provider=call.provider,
            model=call.model,
            owner=call.owner,
            created_at=self._ledger.now,
        )
        if in_doubt:
            self._move(call, self._ledger.now, doubt=held)
            self._use.doubted(call)
        self._attempts.append(attempt)
        return attempt

    def _undoubt(self, call: LlmCall) -> None:
        """The newest send in doubt was answered after all: its cost is known now."""
        older = f"{call.fingerprint[:RETIRED_AT]}{RETIRED}"
        attempts = LlmAttempt.objects.filter(in_doubt=True, call__workspace=self._workspace)
        mine = attempts.filter(call__fingerprint=call.fingerprint)
        found = mine.last() or attempts.filter(call__fingerprint__startswith=older).last()
        if found is None:
            return
        payer = found.call
        scopes = scopes_of(self._workspace, payer.project_id, payer.analysis_id)
        self._ledger.move(scopes, found.created_at, doubt=-(found.cost or NOTHING))
        self._use.undoubted(payer, found.created_at)
        LlmAttempt.objects.filter(pk=found.pk).update(in_doubt=False, cost=0, error_class=FOUND)

    def _retire(self, call: LlmCall) -> None:
        """Leave the books of an earlier payer alone: its row gives up the fingerprint."""
        old = call.fingerprint
        call.fingerprint = f"{old[:RETIRED_AT]}{RETIRED}{secrets.token_hex(8)}"
        if call.pk is not None:
            LlmCall.objects.filter(pk=call.pk).update(fingerprint=call.fingerprint)

    def _release(self, call: LlmCall) -> Decimal:
        """Give back what was reserved for a send; gives it to the caller as well."""
        held = call.reserved
        self._move(call, call.sent_at, reserved=-held)
        self._use.released(call)
        call.reserved = NOTHING
        return held

    def _move(self, call: LlmCall, when: datetime, **amounts: Decimal) -> None:
        scopes = scopes_of(self._workspace, call.project_id, call.analysis_id)
        self._ledger.move(scopes, when, **amounts)

    def _touch(self, call: LlmCall, *, answered: bool = False) -> None:
        self._touched[id(call)] = (call, answered)

    def save(self) -> None:
        """Write calls, attempts and books."""
        touched = list(self._touched.values())
        self._upsert([call for call, answered in touched if not answered], _STATE_FIELDS)
        self._upsert([call for call, answered in touched if answered], _ANSWER_FIELDS)
        LlmAttempt.objects.bulk_create(self._attempts)
        self._ledger.save()
        self._use.save()

    def _upsert(self, calls: Sequence[LlmCall], fields: Sequence[str]) -> None:
        for call in calls:
            call.pk = None  # the row is found by its fingerprint, which is free or its own
            if "response" in call.get_deferred_fields():
                call.response = ""  # not among the fields that are overwritten
        if calls:
            LlmCall.objects.bulk_create(
                calls,
                update_conflicts=True,
                unique_fields=["workspace", "fingerprint"],
                update_fields=fields,
            )


RETIRED = "~"
RETIRED_AT = 43
"""How many characters of its fingerprint a call keeps that gave it up; then comes a mark."""

_STATE_FIELDS = (
    "state",
    "sends",
    "repeats",
    "owner",
    "ticket",
    "sent_at",
    "sent_until",
    "settled_at",
    "reserved",
    "tokens_reserved",
    "priced",
    "latency_ms",
    "error_class",
    "model",
    "provider",
    "deployment_id",
    "user_id",
    "key_id",
    "batched",
)
_ANSWER_FIELDS = (
    *_STATE_FIELDS,
    "response",
    "tokens_in",
    "tokens_out",
    "tokens_cached",
    "tokens_reasoning",
    "cost",
)


def _same_send(call: LlmCall, row: JournalRow) -> bool:
    return (call.owner, call.ticket) == (row.owner[:120], row.ticket)


def _elsewhere(call: LlmCall) -> Verdict:
    """Somebody else waits for the call: a process, or the batch that will bring its answer."""
    if call.owner.startswith(AT_PROVIDER):
        return Verdict("parked", call.owner.removeprefix(AT_PROVIDER))
    return Verdict("wait")


def _was_doubted(call: LlmCall) -> bool:
    """Whether an earlier send may have been answered.

    Who gave up asking again since then, or was refused, has not taken that back: a call that was
    asked again because of a doubt keeps it until it is answered.
    """
    return call.state == CallState.DOUBT or (call.state == CallState.FAILED and call.repeats > 0)


def _same_payer(call: LlmCall, row: JournalRow) -> bool:
    return (call.analysis_id, call.project_id) == (row.session, row.project)


def _describe(call: LlmCall, row: JournalRow) -> None:
    """What is known of a call before its outcome."""
    call.analysis_id, call.project_id = row.session, row.project
    call.purpose = row.purpose[:20]
    call.provider = clean(row.provider)[:80]
    call.model = clean(row.model)[:120]
    call.prompt_version = row.prompt_version[:40]
    call.owner, call.ticket = row.owner[:120], row.ticket
    call.deployment_id = int(row.deployment) if row.deployment.isdigit() else None
    call.user_id, call.key_id, call.batched = row.user, row.key, row.batched


def _tokens(count: int) -> int:
    return min(max(0, count), MOST_TOKENS)
