"""Limits of use by person, API key and project: calls a minute, tokens a day (UTC).

Use is counted for those alone who have a limit, in the journal's own transactions and under the
workspace's lock, so that calls that race for the last token come one after the other. What was used
before a limit was set is counted when it is set. A call's tokens are those it was answered with; while
it is out, and when its answer was lost, the most it can take.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from django.db import transaction
from django.db.models import F, Q, Sum
from django.utils import timezone

from accounts.models import ApiKey, Membership, Role, User, Workspace
from accounts.services import audit, require
from core.errors import Invalid
from core.figures import thousands
from providers.models import CallState, LlmAttempt, LlmCall, UseBook, UseLimit
from providers.selectors.limits import places
from providers.selectors.use import UseState, day_of, minute_of, use_states
from providers.services.books import Ledger

MINUTES_KEPT = timedelta(hours=1)
DAYS_KEPT = timedelta(days=2)

MOST_REQUESTS = 1_000_000
MOST_TOKENS = 1_000_000_000_000
"""The largest limits that can be set."""


class Asks(Protocol):
    """What a row of the journal says of who asks, and how much."""

    @property
    def project(self) -> int | None: ...
    @property
    def user(self) -> int | None: ...
    @property
    def key(self) -> int | None: ...
    @property
    def tokens_reserved(self) -> int: ...
    @property
    def batched(self) -> bool: ...


def use_scopes(user: int | None, key: int | None, project: int | None) -> tuple[str, ...]:
    """The scopes a call is counted in."""
    named = (("user", user), ("key", key), ("project", project))
    return tuple(f"{sort}:{pk}" for sort, pk in named if pk is not None)


@dataclass(slots=True)
class _Sums:
    requests: int = 0
    tokens: int = 0
    reserved: int = 0


@dataclass(frozen=True, slots=True)
class UseShortage:
    """A limit of use that a call does not fit under.

    ``tokens`` is the most the call can take; ``passing`` says that room comes by itself within
    the minute or when calls now out are answered.
    """

    state: UseState
    tokens: int
    passing: bool


class UseLedger:
    """What those who have limits used, within the transaction that holds the ledger's lock.

    Costs nothing while the workspace limits nobody, else a query for its limits, one for each kind
    of window that is touched, and a statement to write.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._workspace, self._now = ledger.workspace, ledger.now
        self._limits: dict[str, UseLimit] = {}
        if ledger.use_limited:
            rows = UseLimit.objects.filter(workspace=ledger.workspace)
            self._limits = {row.scope: row for row in rows}
        self._books: dict[tuple[str, str], _Sums] = {}
        self._windows: set[str] = set()
        self._changed: set[tuple[str, str]] = set()

    def shortage(self, asks: Asks) -> UseShortage | None:
        """The limit under which a call does not fit now; one that will not pass goes first."""
        found = None
        for scope in use_scopes(asks.user, asks.key, asks.project) if self._limits else ():
            limit = self._limits.get(scope)
            short = self._short(limit, asks) if limit is not None else None
            if short is not None and not short.passing:
                return short
            found = found or short
        return found

    def _short(self, limit: UseLimit, asks: Asks) -> UseShortage | None:
        minute = self._book(limit.scope, minute_of(self._now))
        day = self._book(limit.scope, day_of(self._now))
        wanted = asks.tokens_reserved
        state = UseState(limit, minute.requests, day.tokens, day.reserved)
        most = limit.tokens_per_day
        if most is not None and day.tokens + wanted > most:
            return UseShortage(state, wanted, passing=False)
        if most is not None and day.tokens + day.reserved + wanted > most:
            return UseShortage(state, wanted, passing=True)
        # A batch is one upload, whatever it holds.
        rate = None if asks.batched else limit.requests_per_minute
        if rate is not None and minute.requests + 1 > rate:
            return UseShortage(state, wanted, passing=True)
        return None

    def sent(self, call: LlmCall) -> None:
        """A call goes out."""
        self._move(call, call.sent_at, requests=not call.batched, reserved=call.tokens_reserved)

    def unsent(self, call: LlmCall) -> None:
        """Nothing left after all."""
        self._move(call, call.sent_at, requests=-(not call.batched))

    def released(self, call: LlmCall) -> None:
        """A call that is out comes back; others held nothing."""
        if call.state == CallState.SENT:
            self._move(call, call.sent_at, reserved=-call.tokens_reserved)

    def answered(self, call: LlmCall) -> None:
        """Its answer took so many tokens."""
        self._move(call, call.sent_at, tokens=call.tokens_in + call.tokens_out)

    def doubted(self, call: LlmCall) -> None:
        """Its answer was lost and may have taken all it could."""
        self._move(call, self._now, tokens=call.tokens_reserved)

    def undoubted(self, call: LlmCall, when: datetime) -> None:
        """The answer of a send that was in doubt since ``when`` was found."""
        self._move(call, when, tokens=-call.tokens_reserved)

    def _move(
        self,
        call: LlmCall,
        when: datetime,
        *,
        requests: int = 0,
        tokens: int = 0,
        reserved: int = 0,
    ) -> None:
        if not self._limits:
            return
        scopes = use_scopes(call.user_id, call.key_id, call.project_id)
        limited = [scope for scope in scopes if scope in self._limits]
        if requests:
            for book in self._opened(limited, minute_of(when)):
                book.requests += requests
        if tokens or reserved:
            for book in self._opened(limited, day_of(when)):
                book.tokens += tokens
                book.reserved += reserved

    def _opened(self, scopes: Iterable[str], window: str) -> list[_Sums]:
        books = [(scope, window) for scope in scopes]
        self._changed.update(books)
        return [self._book(*book) for book in books]

    def _book(self, scope: str, window: str) -> _Sums:
        """A scope's sums, read with those of all who have a limit."""
        if window not in self._windows:
            self._windows.add(window)
            self._books.update(((one, window), _Sums()) for one in self._limits)
            rows = UseBook.objects.filter(workspace=self._workspace, window=window)
            for row in rows.filter(scope__in=self._limits):
                self._books[row.scope, window] = _Sums(row.requests, row.tokens, row.reserved)
        return self._books[scope, window]

    def save(self) -> None:
        """Write what changed. One statement, none without limits."""
        if self._changed:
            _write(self._workspace, {book: self._books[book] for book in self._changed})
            self._changed.clear()


def _write(workspace: int, books: Mapping[tuple[str, str], _Sums]) -> None:
    UseBook.objects.bulk_create(
        [
            UseBook(
                workspace_id=workspace,
                scope=scope,
                window=window,
                requests=max(0, sums.requests),
                tokens=max(0, sums.tokens),
                reserved=max(0, sums.reserved),
            )
            for (scope, window), sums in sorted(books.items(), key=lambda item: item[0])
        ],
        update_conflicts=True,
        unique_fields=["workspace", "scope", "window"],
        update_fields=["requests", "tokens", "reserved"],
    )


def use_refusal(short: UseShortage) -> str:
    """Why a call may not be sent: whose limit of tokens it does not fit under."""
    state = short.state
    return (
        f"The next call may take {thousands(short.tokens)} tokens, which does not fit under "
        f"{state.name}: {state.text}. Raise the limit to go on, or wait until midnight UTC."
    )


@transaction.atomic
def set_use_limit(
    *,
    actor: User,
    workspace: Workspace,
    scope: str,
    requests_per_minute: int | None,
    tokens_per_day: int | None,
) -> UseLimit | None:
    """Set how many calls a minute and tokens a day somebody may use; both ``None`` ends it.

    ``scope`` is ``user:<id>`` of a member, ``key:<id>`` of an API key or ``project:<id>``, all of
    this workspace. Owners only. Raises :class:`Invalid`. What was used today already counts, and
    the limit holds from the next call on.
    """
    require(actor, workspace, Role.OWNER)
    _check(workspace, scope, requests_per_minute, tokens_per_day)
    ledger = Ledger(workspace.pk)
    removed = requests_per_minute is None and tokens_per_day is None
    audit(
        workspace=workspace,
        actor=actor,
        action="use_limit.removed" if removed else "use_limit.set",
        scope=scope,
        requests_per_minute=requests_per_minute,
        tokens_per_day=tokens_per_day,
    )
    if removed:
        UseLimit.objects.filter(workspace=workspace, scope=scope).delete()
        UseBook.objects.filter(workspace=workspace, scope=scope).delete()
        return None
    row, _ = UseLimit.objects.update_or_create(
        workspace=workspace,
        scope=scope,
        defaults={
            "requests_per_minute": requests_per_minute,
            "tokens_per_day": tokens_per_day,
            "warned_for": "",
            "created_by": actor,
        },
    )
    _write(workspace.pk, _used_before(ledger, scope))
    return row


def _check(
    workspace: Workspace, scope: str, requests_per_minute: int | None, tokens_per_day: int | None
) -> None:
    sort, _, number = scope.partition(":")
    known = {"user": _is_member, "key": _is_key, "project": _is_project}
    if sort not in known or not number.isdecimal() or len(scope) > 20:
        raise Invalid(fields={"scope": "A limit belongs to a person, an API key or a project."})
    if not known[sort](workspace, int(number)):
        raise Invalid(fields={"scope": "This is not one of this workspace."})
    for name, value, most in (
        ("requests_per_minute", requests_per_minute, MOST_REQUESTS),
        ("tokens_per_day", tokens_per_day, MOST_TOKENS),
    ):
        if value is not None and not 1 <= value <= most:
            text = f"Enter a number from 1 to {thousands(most)}, or leave it empty for no limit."
            raise Invalid(fields={name: text})


def _is_member(workspace: Workspace, pk: int) -> bool:
    return Membership.objects.filter(workspace=workspace, user=pk).exists()


def _is_key(workspace: Workspace, pk: int) -> bool:
    return ApiKey.objects.filter(workspace=workspace, pk=pk).exists()


def _is_project(workspace: Workspace, pk: int) -> bool:
    return any(place.scope == f"project:{pk}" for place in places(workspace))


COLUMN = {"user": "user_id", "key": "key_id", "project": "project_id"}


def _used_before(ledger: Ledger, scope: str) -> dict[tuple[str, str], _Sums]:
    """What the journal says of the windows that are running, by the ledger's clock."""
    sort, _, number = scope.partition(":")
    mine: dict[str, Any] = {COLUMN[sort]: int(number), "workspace": ledger.workspace}
    midnight = ledger.now.replace(hour=0, minute=0, second=0, microsecond=0)
    today = LlmCall.objects.filter(**mine, sent_at__gte=midnight)
    doubts = LlmAttempt.objects.filter(
        **{f"call__{name}": value for name, value in mine.items()},
        in_doubt=True,
        created_at__gte=midnight,
    )
    sums = today.aggregate(
        answered=Sum(F("tokens_in") + F("tokens_out"), filter=Q(state=CallState.OK)),
        out=Sum("tokens_reserved", filter=Q(state=CallState.SENT)),
    )
    doubted = doubts.aggregate(tokens=Sum("call__tokens_reserved"))["tokens"] or 0
    minute = ledger.now.replace(second=0, microsecond=0)
    sent = today.filter(sent_at__gte=minute, batched=False, sends__gt=0).count()
    return {
        (scope, day_of(ledger.now)): _Sums(0, (sums["answered"] or 0) + doubted, sums["out"] or 0),
        (scope, minute_of(ledger.now)): _Sums(requests=sent),
    }


def newly_near_use(scopes: Sequence[str]) -> list[UseState]:
    """Limits of use of which 80 % are gone since anybody asked last; each once a day.

    Call it inside a transaction whose commit tells the person.
    """
    today = day_of(timezone.now())
    near = []
    for state in use_states(scopes):
        if state.near and state.limit.warned_for != today:
            unwarned = UseLimit.objects.filter(pk=state.limit.pk).exclude(warned_for=today)
            if unwarned.update(warned_for=today):
                near.append(state)
    return near


def prune_use() -> int:
    """Remove the sums of windows that are long over; returns how many. Part of the tick."""
    now = timezone.now()
    minutes = Q(window__contains="T", window__lt=minute_of(now - MINUTES_KEPT))
    old = UseBook.objects.filter(minutes | Q(window__lt=day_of(now - DAYS_KEPT)))
    # Reading first spares SQLite a write lock every two seconds.
    return old.delete()[0] if old.exists() else 0
