"""Whatever happens in whatever order: the books and the journal say the same, within the limits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import pytest
from django.db.models import Sum
from hypothesis import HealthCheck, given, settings

from accounts.models import Workspace
from providers.gateway.journal import JournalRow, Verdict
from providers.models import CallState, LlmCall, SpendBook, SpendLimit, UseBook, UseLimit
from providers.runner import DatabaseJournal
from providers.selectors.reconciling import checks
from providers.selectors.use import day_of
from providers.services.books import Ledger
from providers.services.lost import doubt_lost_calls
from providers.services.use import _used_before
from tests.providers.books import intent
from tests.providers.test_journal import answered, failed, journal

__all__ = ["journal"]

USER = 7
LIMIT = Decimal("1.00")
TOKENS = 1000
SIZES = ((10, 100), (25, 250), (40, 90), (0, 300), (None, 120))
"""By question: the most it can cost, in cents or unknown, and the most tokens it can take."""

STEPS = st.tuples(
    st.sampled_from(
        [
            "ask",
            "ask",
            "ask",
            "answer",
            "answer",
            "again",
            "fail",
            "unsent",
            "doubt",
            "found",
            "die",
        ]
    ),
    st.integers(0, len(SIZES) - 1),
    st.integers(0, 150),
)


@dataclass
class World:
    """The journal of a new workspace, and a simple account of what it must say."""

    workspace: Workspace
    journal: DatabaseJournal
    tickets: int = 0
    out: dict[int, JournalRow] = field(default_factory=dict)
    """Calls that are out, by question."""
    paid: dict[int, Decimal] = field(default_factory=dict)
    """What the answer of each question cost."""
    excess: Decimal = Decimal(0)
    """By how much answers cost more than was set aside for them."""
    last: JournalRow | None = None

    def ask(self, question: int, share: int) -> None:
        self.tickets += 1
        cents, tokens = SIZES[question]
        row = replace(
            intent(
                fingerprint=f"{question:064x}",
                ticket=self.tickets,
                owner=f"elsewhere:{self.tickets}:1",
                reserved=None if cents is None else cents / 100,
                project=None,
                session=self.workspace.pk,
            ),
            user=USER,
            tokens_reserved=tokens,
        )
        word = self.journal.write([row]).get(row.ticket, Verdict()).word
        if question in self.paid:
            assert word == "answered"
        elif question in self.out:
            assert word == "wait"
        elif word == "go":
            self.out[question] = row

    def answer(self, question: int, share: int, **how: Any) -> None:
        row = self.out.pop(question, None)
        if row is None:
            return
        cost = None if row.reserved is None else round(row.reserved * share / 100, 8)
        tokens = row.tokens_reserved * min(share, 100) // 100
        self.last = answered(row, cost=cost, tokens_in=tokens, tokens_out=0, **how)
        self.journal.write([self.last])
        self.paid[question] = Decimal(str(cost or 0))
        self.excess += max(Decimal(0), Decimal(str((cost or 0) - (row.reserved or 0))))

    def again(self, question: int, share: int) -> None:
        """A group whose commit was reported lost is written once more."""
        if self.last is not None:
            self.journal.write([replace(self.last, cost=9.0)])

    def fail(self, question: int, share: int, **how: Any) -> None:
        row = self.out.pop(question, None)
        if row is not None:
            self.journal.write([failed(row, **how)])

    def unsent(self, question: int, share: int) -> None:
        self.fail(question, share, unsent=True)

    def doubt(self, question: int, share: int) -> None:
        self.fail(question, share, in_doubt=True)

    def found(self, question: int, share: int) -> None:
        """The provider had kept the answer of a send that was in doubt."""
        call = LlmCall.objects.filter(workspace=self.workspace, fingerprint=f"{question:064x}")
        if call.filter(repeats__gt=0).exists():
            self.answer(question, share, found=True)

    def die(self, question: int, share: int) -> None:
        row = self.out.pop(question, None)
        if row is not None:
            doubt_lost_calls(owner=row.owner)

    def check(self) -> None:
        assert [check.text for check in checks(self.workspace) if not check.ok] == []
        answers = LlmCall.objects.filter(workspace=self.workspace, state=CallState.OK)
        assert answers.count() == len(self.paid)
        settled = answers.aggregate(sum=Sum("cost"))["sum"] or 0
        assert abs(Decimal(settled) - sum(self.paid.values())) < Decimal("0.000001")
        flying = LlmCall.objects.filter(workspace=self.workspace, state=CallState.SENT)
        assert flying.count() == len(self.out)
        self._money()
        self._use()

    def _money(self) -> None:
        book = SpendBook.objects.filter(scope=f"workspace:{self.workspace.pk}").exclude(key="all")
        for row in book:
            assert min(row.spent, row.doubt, row.reserved) >= 0
            assert row.spent + row.doubt + row.reserved <= LIMIT + self.excess

    def _use(self) -> None:
        scope = f"user:{USER}"
        ledger = Ledger(self.workspace.pk)
        expected = _used_before(ledger, scope)[scope, day_of(ledger.now)]
        row = UseBook.objects.filter(
            workspace=self.workspace, scope=scope, window=day_of(ledger.now)
        ).first()
        book = row or UseBook()
        assert (book.tokens, book.reserved) == (expected.tokens, expected.reserved)
        assert book.tokens + book.reserved <= TOKENS


@settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(STEPS, min_size=3, max_size=20))
def test_books_limits_and_answers_agree_after_every_step(
    journal: DatabaseJournal, steps: list[tuple[str, int, int]]
) -> None:
    workspace = Workspace.objects.create(name="Any")
    SpendLimit.objects.create(
        workspace=workspace, scope=f"workspace:{workspace.pk}", period="day", amount=LIMIT
    )
    UseLimit.objects.create(workspace=workspace, scope=f"user:{USER}", tokens_per_day=TOKENS)
    world = World(workspace, DatabaseJournal(workspace.pk))
    for step, question, share in steps:
        getattr(world, step)(question, share)
        world.check()


@pytest.mark.parametrize("step", ["answer", "doubt", "die", "fail", "unsent"])
def test_each_end_of_a_call_leaves_nothing_set_aside(journal: DatabaseJournal, step: str) -> None:
    """The machine above reaches every one of them: this says so without luck."""
    workspace = Workspace.objects.create(name="One")
    UseLimit.objects.create(workspace=workspace, scope=f"user:{USER}", tokens_per_day=TOKENS)
    world = World(workspace, DatabaseJournal(workspace.pk))
    world.ask(1, 0)
    assert world.out
    world.check()
    getattr(world, step)(1, 100)
    world.check()
    assert SpendBook.objects.exclude(reserved=0).count() == 0
    assert UseBook.objects.exclude(reserved=0).count() == 0
