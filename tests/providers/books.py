"""Intents, limits and books for the tests of spending."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from accounts.models import Workspace
from core.work import owner_name
from providers.gateway.journal import JournalRow, Verdict
from providers.models import SpendBook, SpendLimit
from providers.runner import DatabaseJournal
from tests.providers.test_journal import sent

SESSION = "analysis:9"


def intent(key: str = "a", ticket: int = 1, **changes: Any) -> JournalRow:
    """An intent of this very process, which lives."""
    values = {"owner": owner_name(), "ticket": ticket, "reserved": 0.4, "project": 3, **changes}
    return sent(key, **values)


def limit(workspace: Workspace, amount: str, scope: str = SESSION, period: str = "all") -> None:
    SpendLimit.objects.create(
        workspace=workspace, scope=scope, period=period, amount=Decimal(amount)
    )


def words(journal: DatabaseJournal, *rows: JournalRow) -> list[str]:
    verdicts = journal.write(rows)
    return [verdicts.get(row.ticket, Verdict()).word for row in rows]


def book(scope: str = SESSION, key: str = "all") -> tuple[float, float, float]:
    row = SpendBook.objects.filter(scope=scope, key=key).first() or SpendBook()
    return float(row.spent), float(row.doubt), float(row.reserved)
