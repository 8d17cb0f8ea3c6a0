"""Calls whose asker is gone: in doubt, because nobody knows whether they were answered and billed."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from core.work import owner_is_dead
from providers.models import CallState, LlmAttempt, LlmCall
from providers.services.books import Ledger, scopes_of
from providers.services.use import UseLedger, prune_use

LOST = "lost"
"""Class of a send whose process ended, or stood still too long, before an answer came."""

LOST_TEXT = "Its worker stopped before an answer came."

AT_PROVIDER = "bulk:"
"""Before the uid of a provider batch: the owner of the calls that it answers."""

FOUND = "found"
"""Class of a send that was in doubt until its answer was found; it is paid for as an answer."""

GROUP = 200
"""Calls put in doubt in one transaction."""


def is_lost(owner: str, sent_until: datetime | None, now: datetime) -> bool:
    """Whether nobody can wait for a sent call's answer any more; ``now`` by the database's clock."""
    return sent_until is None or sent_until <= now or owner_is_dead(owner)


def never_left(call: LlmCall) -> bool:
    """Whether a lost call was only gathered for a batch, so that no provider ever saw it."""
    return call.batched and not call.owner.startswith(AT_PROVIDER)


def tick() -> None:
    """Entry for the supervisors: every few seconds, on every host."""
    doubt_lost_calls()
    prune_use()


def doubt_lost_calls(*, owner: str | None = None) -> int:
    """Put sent calls in doubt that nobody waits for any more; returns how many.

    These are calls whose time has passed and calls of processes of this host that are gone, or
    with ``owner`` those of that process, which the caller knows to be gone. What was reserved for
    them becomes doubt in the books. May run anywhere, any number of times at once.
    """
    count = 0
    workspaces = _lost(owner).order_by().values_list("workspace", flat=True).distinct()
    for workspace in list(workspaces):
        while found := _doubt_some(workspace, owner):
            count += found
    return count


def _lost(owner: str | None) -> QuerySet[LlmCall]:
    out = LlmCall.objects.filter(state=CallState.SENT)
    if owner is not None:
        return out.filter(owner=owner)
    owners = out.order_by().values_list("owner", flat=True).distinct()
    dead = [name for name in owners if owner_is_dead(name)]
    return out.filter(Q(owner__in=dead) | Q(sent_until__isnull=True) | Q(sent_until__lte=Now()))


@transaction.atomic
def _doubt_some(workspace: int, owner: str | None) -> int:
    """One group of lost calls of a workspace, under its lock: nobody else decides on them."""
    ledger = Ledger(workspace)
    use = UseLedger(ledger)
    rows = list(_lost(owner).filter(workspace=workspace).order_by("pk").defer("response")[:GROUP])
    for row in rows:
        scopes = scopes_of(workspace, row.project_id, row.analysis_id)
        ledger.move(scopes, row.sent_at, reserved=-row.reserved)
        if not never_left(row):
            ledger.move(scopes, ledger.now, doubt=row.reserved)
            use.doubted(row)
        use.released(row)
    LlmAttempt.objects.bulk_create(
        LlmAttempt(
            call=row,
            error_class=LOST,
            message=LOST_TEXT,
            in_doubt=not never_left(row),
            cost=row.reserved if row.priced and not never_left(row) else None,
            provider=row.provider,
            model=row.model,
            owner=row.owner,
            created_at=ledger.now,
        )
        for row in rows
    )
    for state, doubted in ((CallState.DOUBT, True), (CallState.FAILED, False)):
        keys = [row.pk for row in rows if never_left(row) is not doubted]
        LlmCall.objects.filter(pk__in=keys).update(
            state=state, error_class=LOST, reserved=0, settled_at=Now()
        )
    ledger.save()
    use.save()
    return len(rows)
