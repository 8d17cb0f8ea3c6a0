"""Reserve before a call, settle after it: every book, every limit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import Workspace
from providers.models import CallState, LlmAttempt, LlmCall, SpendLimit
from providers.runner import DatabaseJournal
from providers.services import limit_states
from tests.providers.books import SESSION, book, intent, limit, words
from tests.providers.support import race
from tests.providers.test_journal import answered, failed, journal

__all__ = ["journal"]


def test_a_call_is_reserved_then_settled_in_every_book(
    journal: DatabaseJournal, workspace: Workspace
) -> None:
    row = intent()
    journal.write([row])
    day, month = timezone.now().strftime("%Y-%m-%d"), timezone.now().strftime("%Y-%m")
    books = [(SESSION, "all")] + [
        (scope, key) for scope in ("project:3", f"workspace:{workspace.pk}") for key in (day, month)
    ]
    assert [book(*one) for one in books] == [(0, 0, 0.4)] * 5
    journal.write([answered(row, cost=0.1)])
    assert [book(*one) for one in books] == [(0.1, 0, 0)] * 5
    assert LlmCall.objects.get().reserved == 0


def test_two_settles_of_one_call_count_once(journal: DatabaseJournal) -> None:
    row = intent()
    journal.write([row])
    for _ in range(2):
        journal.write([answered(row, cost=0.1)])
    journal.write([answered(row, cost=0.1, ticket=99, owner="host:2:2")])
    assert book() == (0.1, 0, 0)
    assert LlmCall.objects.get().cost == Decimal("0.1")


def test_a_group_written_twice_counts_once(journal: DatabaseJournal) -> None:
    """The database may commit and the word of it be lost; the group is then written again."""
    first, second = intent("a", 1), intent("b", 2)
    for _ in range(2):
        assert words(journal, first, second) == ["go", "go"]
    assert book() == (0, 0, 0.8)
    for _ in range(2):
        journal.write([answered(first, cost=0.1), failed(second, in_doubt=True)])
    assert book() == (0.1, 0.4, 0)
    assert LlmAttempt.objects.count() == 1


def test_a_call_that_never_left_frees_its_reserve(journal: DatabaseJournal) -> None:
    row = intent()
    journal.write([row, failed(row, error_class="network", unsent=True)])
    assert book() == (0, 0, 0)
    call, attempt = LlmCall.objects.get(), LlmAttempt.objects.get()
    assert (call.state, call.sends, attempt.in_doubt, attempt.cost) == ("failed", 0, False, None)


def test_a_call_cut_off_is_in_doubt_and_stays_so_when_it_is_asked_again(
    journal: DatabaseJournal,
) -> None:
    first, second = intent(ticket=1), intent(ticket=2)
    journal.write([first])
    journal.write([failed(first, in_doubt=True), second])
    assert book() == (0, 0.4, 0.4)
    journal.write([answered(second, cost=0.1)])
    assert book() == (0.1, 0.4, 0)
    call, attempt = LlmCall.objects.get(), LlmAttempt.objects.get()
    assert (call.state, call.sends, call.repeats) == ("ok", 2, 1)
    assert (attempt.in_doubt, attempt.cost) == (True, Decimal("0.4"))


@pytest.mark.parametrize("cost", [-5.0, float("nan"), float("inf"), float("-inf")])
def test_costs_are_never_negative_nor_nonsense(journal: DatabaseJournal, cost: float) -> None:
    row = intent()
    journal.write([row, answered(row, cost=cost, tokens_in=-7, tokens_out=2**40)])
    call = LlmCall.objects.get()
    assert call.cost is None or call.cost == 0
    assert (call.tokens_in, call.tokens_out) == (0, 2**31 - 1)
    assert book() == (0, 0, 0)


def test_what_does_not_fit_is_refused_by_name(
    journal: DatabaseJournal, workspace: Workspace
) -> None:
    limit(workspace, "1.00", "project:3", "month")
    one, two, three = intent("a", 1), intent("b", 2), intent("c", 3)
    assert words(journal, one, two, three) == ["go", "go", "wait"]
    journal.write([answered(one, cost=0.4), answered(two, cost=0.35)])
    verdict = journal.write([three])[3]
    assert verdict.word == "refused"
    assert verdict.text == (
        "The next call may cost $0.40, which does not fit under the project's limit a month: "
        "$0.75 of $1.00 this month. Raise the limit to go on, or wait for the next month "
        "(UTC)."
    )
    assert not LlmCall.objects.filter(fingerprint="c" * 64).exists()
    assert words(journal, intent("d", 4, reserved=0.25)) == ["go"]


def test_calls_that_wait_for_room_get_it_when_others_cost_less(
    journal: DatabaseJournal, workspace: Workspace
) -> None:
    limit(workspace, "0.50")
    one, two = intent("a", 1), intent("b", 2)
    assert words(journal, one, two) == ["go", "wait"]
    journal.write([answered(one, cost=0.01)])
    assert words(journal, two) == ["go"]


def test_doubt_counts_as_spent(journal: DatabaseJournal, workspace: Workspace) -> None:
    limit(workspace, "0.50")
    row = intent()
    journal.write([row, failed(row, in_doubt=True)])
    assert words(journal, intent("b", 2)) == ["refused"]


def test_free_calls_pass_a_limit_that_is_used_up(
    journal: DatabaseJournal, workspace: Workspace
) -> None:
    limit(workspace, "0")
    assert words(journal, intent(reserved=0.0)) == ["go"]
    assert words(journal, intent("b", 2, reserved=0.000001)) == ["refused"]


def test_unpriced_calls_are_refused_under_a_limit_alone(
    journal: DatabaseJournal, workspace: Workspace
) -> None:
    assert words(journal, intent(reserved=None)) == ["go"]
    limit(workspace, "5")
    verdict = journal.write([intent("b", 2, reserved=None, model="odd-model")])[2]
    assert verdict.word == "refused"
    assert "The price of odd-model is unknown" in verdict.text
    assert "$5.00" in verdict.text
    assert words(journal, intent("c", 3, reserved=None, session=10)) == ["go"]


def test_a_limit_lowered_below_what_was_spent_stops_the_next_call(
    journal: DatabaseJournal, workspace: Workspace
) -> None:
    limit(workspace, "9")
    row = intent()
    journal.write([row, answered(row, cost=0.4)])
    SpendLimit.objects.update(amount=Decimal("0.1"))
    assert words(journal, intent("b", 2)) == ["refused"]


@pytest.mark.django_db(transaction=True)
def test_processes_that_race_for_the_last_cent_do_not_overshoot(workspace: Workspace) -> None:
    """Eight journals want 8 × 10 calls of 0.10 under a limit of 2.05: twenty may go."""
    limit(workspace, "2.05", f"workspace:{workspace.pk}", "day")
    gone: list[str] = []

    def work(number: int) -> None:
        journal = DatabaseJournal(workspace.pk)
        for turn in range(10):
            key = f"{number:032x}{turn:032x}"
            row = intent(
                ticket=number * 100 + turn + 1,
                fingerprint=key,
                reserved=0.1,
                session=number,
                project=number % 3,
            )
            if words(journal, row) == ["go"]:
                gone.append(key)
                journal.write([answered(row, cost=0.1)])

    race(work, 8)
    assert len(gone) == 20
    (state,) = limit_states([f"workspace:{workspace.pk}"])
    assert (state.spent, state.reserved) == (Decimal(2), 0)
    assert LlmCall.objects.filter(state=CallState.OK).count() == 20


def test_a_group_costs_a_handful_of_statements(
    journal: DatabaseJournal, workspace: Workspace, django_assert_max_num_queries: Any
) -> None:
    limit(workspace, "1000")
    rows = [intent(ticket=n + 1, fingerprint=f"{n:064x}") for n in range(30)]
    journal.write([intent("f", 99)])  # the workspace's lock is there from the first call on
    with django_assert_max_num_queries(8):
        journal.write(rows)
    more = [intent(ticket=n + 100, fingerprint=f"{n + 100:064x}") for n in range(15)]
    with django_assert_max_num_queries(9):
        journal.write([*(answered(row, cost=0.1) for row in rows[:15]), *more])
