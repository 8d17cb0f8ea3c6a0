"""Reserve before a call, settle after it: limits, doubt, single flight between processes."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import User, Workspace
from core.errors import Forbidden, Invalid, NotFound
from core.work import owner_name
from providers.gateway.journal import JournalRow, Verdict
from providers.models import CallState, LlmAttempt, LlmCall, SpendBook, SpendLimit
from providers.runner import DatabaseJournal
from providers.services import doubt_lost_calls, limit_states, newly_near, room, set_limit
from tests.providers.test_journal import answered, failed, journal, sent

__all__ = ["journal"]

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


# Reserve and settle


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


# Limits


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
        "The next call may cost US$ 0.40, which does not fit under the project's limit a month: "
        "US$ 0.75 of US$ 1.00 this month. Raise the limit to go on, or wait for the next month "
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
    assert "US$ 5.00" in verdict.text
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
    errors: list[BaseException] = []
    start = threading.Barrier(8)

    def work(number: int) -> None:
        journal = DatabaseJournal(workspace.pk)
        try:
            start.wait(10)
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
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert len(gone) == 20
    (state,) = limit_states([f"workspace:{workspace.pk}"])
    assert (state.spent, state.reserved) == (Decimal(2), 0)
    assert LlmCall.objects.filter(state=CallState.OK).count() == 20


# Single flight between processes


def test_who_asks_what_another_is_asking_waits_for_its_answer(journal: DatabaseJournal) -> None:
    first = intent(ticket=1)
    second = intent(ticket=2)  # another gateway of this process, so its owner is the same
    assert words(journal, first) == ["go"]
    assert words(journal, second) == ["wait"]
    assert words(journal, replace(second, owner="elsewhere:5:5")) == ["wait"]
    journal.write([answered(first, cost=0.1)])
    verdict = journal.write([second])[2]
    assert verdict.word == "answered"
    assert verdict.answer is not None
    assert verdict.answer.text == '{"a": 1}'
    assert (LlmCall.objects.get().sends, book()) == (1, (0.1, 0, 0))


def test_a_dead_asker_of_this_host_frees_its_call_at_once(journal: DatabaseJournal) -> None:
    host = owner_name().partition(":")[0]
    journal.write([intent(ticket=1, owner=f"{host}:999999:1")])
    verdict = journal.write([intent(ticket=2)]).get(2)
    assert verdict is not None
    assert verdict.word == "go"
    assert verdict.doubted is not None
    assert 0 <= verdict.doubted < 60
    attempt = LlmAttempt.objects.get()
    assert (attempt.error_class, attempt.in_doubt, attempt.cost) == ("lost", True, Decimal("0.4"))
    assert (LlmCall.objects.get().repeats, book()) == (1, (0, 0.4, 0.4))


def test_an_asker_elsewhere_is_waited_for_until_its_time_has_passed(
    journal: DatabaseJournal,
) -> None:
    journal.write([intent(ticket=1, owner="elsewhere:5:5")])
    assert words(journal, intent(ticket=2)) == ["wait"]
    LlmCall.objects.update(sent_until=timezone.now() - timedelta(seconds=1))
    assert words(journal, intent(ticket=2)) == ["go"]
    assert LlmAttempt.objects.get().error_class == "lost"


def test_a_late_answer_settles_the_doubt(journal: DatabaseJournal) -> None:
    row = intent(open_for=-1)
    journal.write([row])
    assert doubt_lost_calls() == 1
    assert book() == (0, 0.4, 0)
    journal.write([answered(row, cost=0.1)])
    attempt = LlmAttempt.objects.get()
    assert (attempt.in_doubt, attempt.cost, attempt.error_class) == (False, 0, "found")
    assert (LlmCall.objects.get().state, book()) == ("ok", (0.1, 0, 0))


@pytest.mark.parametrize("unsent", [True, False])
def test_a_doubt_outlives_those_who_gave_up_asking(journal: DatabaseJournal, unsent: bool) -> None:
    """Stopped before it was sent again, or refused then: the first send may still be answered."""
    journal.write([intent(ticket=1, open_for=-1)])
    second, third = intent(ticket=2), intent(ticket=3)
    assert journal.write([second])[2].doubted is not None
    journal.write([failed(second, error_class="cancelled", unsent=unsent)])
    verdict = journal.write([third]).get(3)
    assert verdict is not None
    assert verdict.doubted is not None
    assert LlmCall.objects.get().repeats == 1
    journal.write([answered(third, cost=0.1, found=True)])
    assert (LlmAttempt.objects.filter(in_doubt=True).count(), book()) == (0, (0.1, 0, 0))


def test_an_answer_that_was_found_clears_the_doubt(journal: DatabaseJournal) -> None:
    row = intent(ticket=1, open_for=-1)
    journal.write([row])
    again = intent(ticket=2)
    journal.write([again])
    journal.write([answered(again, cost=0.1, found=True)])
    attempt = LlmAttempt.objects.get()
    assert (attempt.in_doubt, attempt.cost, attempt.error_class) == (False, 0, "found")
    assert (LlmCall.objects.get().sends, book()) == (1, (0.1, 0, 0))


def test_another_analysis_pays_for_its_own_send(journal: DatabaseJournal) -> None:
    """The same question of a second analysis leaves the first one's doubt in its books."""
    journal.write([intent(ticket=1, open_for=-1)])
    other = intent(ticket=2, session=10)
    journal.write([other])
    assert (book(), book("analysis:10")) == ((0, 0.4, 0), (0, 0, 0.4))
    journal.write([answered(other, cost=0.1)])
    assert (book(), book("analysis:10")) == ((0, 0.4, 0), (0.1, 0, 0))
    rows = LlmCall.objects.order_by("analysis_id").values_list("analysis_id", "state")
    assert list(rows) == [(9, "doubt"), (10, "ok")]
    assert list(LlmAttempt.objects.values_list("call__analysis_id", flat=True)) == [9]
    assert journal.read(["a" * 64])


def test_an_answer_found_for_another_analysis_clears_the_first_ones_doubt(
    journal: DatabaseJournal,
) -> None:
    journal.write([intent(ticket=1, open_for=-1)])
    other = intent(ticket=2, session=10)
    journal.write([other])
    journal.write([answered(other, cost=0.1, found=True)])
    assert (book(), book("analysis:10")) == ((0, 0, 0), (0.1, 0, 0))


def test_a_purged_answer_is_bought_again_and_both_are_in_the_books(
    journal: DatabaseJournal,
) -> None:
    row = intent(ticket=1)
    journal.write([row, answered(row, cost=0.1)])
    LlmCall.objects.update(response="")
    assert journal.read(["a" * 64]) == {}
    again = intent(ticket=2)
    assert words(journal, again) == ["go"]
    journal.write([answered(again, cost=0.2)])
    assert sorted(LlmCall.objects.values_list("cost", flat=True)) == [
        Decimal("0.1"),
        Decimal("0.2"),
    ]
    assert book() == (pytest.approx(0.3), 0, 0)


@pytest.mark.django_db(transaction=True)
def test_two_processes_never_both_send(workspace: Workspace) -> None:
    """Of six that ask the same forty questions at once, one sends each."""
    sends: list[str] = []
    errors: list[BaseException] = []
    start = threading.Barrier(6)

    def work(number: int) -> None:
        journal = DatabaseJournal(workspace.pk)
        try:
            start.wait(10)
            for turn in range(40):
                row = intent(ticket=number * 100 + turn + 1, fingerprint=f"{turn:064x}")
                if words(journal, row) == ["go"]:
                    sends.append(row.fingerprint)
                    journal.write([answered(row, cost=0.1)])
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert sorted(sends) == [f"{turn:064x}" for turn in range(40)]


# Lost calls


def test_the_tick_doubts_what_nobody_waits_for_and_nothing_else(
    journal: DatabaseJournal, other_workspace: Workspace
) -> None:
    host = owner_name().partition(":")[0]
    journal.write(
        [
            intent("a", 1),
            intent("b", 2, owner=f"{host}:999999:1"),
            intent("c", 3, open_for=-1),
            intent("d", 4, reserved=None, open_for=-1),
            intent("e", 5, owner="elsewhere:1:1"),
        ]
    )
    DatabaseJournal(other_workspace.pk).write([intent("f", 6, session=77, open_for=-1)])
    assert doubt_lost_calls() == 4
    assert doubt_lost_calls() == 0
    states = dict(LlmCall.objects.values_list("fingerprint", "state"))
    assert [states[key * 64] for key in "abcdef"] == [
        "sent", "doubt", "doubt", "doubt", "sent", "doubt",
    ]  # fmt: skip
    costs = dict(LlmAttempt.objects.values_list("call__fingerprint", "cost"))
    assert costs["d" * 64] is None
    assert book() == (0, pytest.approx(0.8), pytest.approx(0.8))
    assert book("analysis:77") == (0, 0.4, 0)


def test_a_supervisor_that_knows_who_died_need_not_wait(journal: DatabaseJournal) -> None:
    journal.write([intent("a", 1, owner="elsewhere:1:1"), intent("b", 2)])
    assert doubt_lost_calls(owner="elsewhere:1:1") == 1
    assert set(LlmCall.objects.values_list("owner", "state")) == {
        ("elsewhere:1:1", "doubt"),
        (owner_name(), "sent"),
    }


# Setting limits


def test_who_may_set_which_limit(
    workspace: Workspace, owner: User, analyst: User, viewer: User, outsider: User
) -> None:
    def put(actor: User, scope: str, period: str) -> None:
        set_limit(actor=actor, workspace=workspace, scope=scope, period=period, amount=Decimal("5"))

    put(analyst, SESSION, "all")
    put(owner, "project:3", "day")
    put(owner, f"workspace:{workspace.pk}", "month")
    for actor, scope, period in (
        (viewer, SESSION, "all"),
        (analyst, "project:3", "day"),
        (analyst, f"workspace:{workspace.pk}", "month"),
    ):
        with pytest.raises(Forbidden):
            put(actor, scope, period)
    with pytest.raises(NotFound):
        put(outsider, SESSION, "all")
    assert SpendLimit.objects.count() == 3


@pytest.mark.parametrize(
    ("scope", "period", "amount"),
    [
        ("analysis:9", "day", "1"),
        ("project:3", "all", "1"),
        ("workspace:987654", "day", "1"),
        ("nothing:1", "day", "1"),
        ("project:x", "day", "1"),
        ("project:3", "day", "-1"),
        ("project:3", "day", "NaN"),
        ("project:3", "day", "1e9"),
    ],
)
def test_limits_that_make_no_sense_are_refused(
    workspace: Workspace, owner: User, scope: str, period: str, amount: str
) -> None:
    with pytest.raises(Invalid):
        set_limit(
            actor=owner, workspace=workspace, scope=scope, period=period, amount=Decimal(amount)
        )
    assert not SpendLimit.objects.exists()


def test_a_limit_is_told_changed_and_removed(
    journal: DatabaseJournal, workspace: Workspace, owner: User
) -> None:
    def put(amount: Decimal | None) -> None:
        set_limit(actor=owner, workspace=workspace, scope=SESSION, period="all", amount=amount)

    put(Decimal(10))
    assert limit_states([SESSION])[0].text == "US$ 0.00 of US$ 10.00 in all"
    one, two = intent("a", 1, reserved=8.5), intent("b", 2, reserved=0.25)
    journal.write([one, answered(one, cost=8.0), two, failed(two, in_doubt=True)])
    (state,) = limit_states([SESSION, "project:3"])
    assert state.text == "US$ 8.25 of US$ 10.00 in all"
    assert (state.doubt, round(state.share, 3), state.left) == (
        Decimal("0.25"),
        0.825,
        Decimal("1.75"),
    )
    assert room([SESSION])
    put(Decimal("8.25"))
    assert not room([SESSION])
    put(None)
    assert room([SESSION])
    assert limit_states([SESSION]) == []


def test_the_warning_is_given_once_per_period(
    journal: DatabaseJournal, workspace: Workspace
) -> None:
    limit(workspace, "1")
    assert newly_near([SESSION]) == []
    row = intent(reserved=0.9)
    journal.write([row, answered(row, cost=0.8)])
    assert [state.text for state in newly_near([SESSION])] == ["US$ 0.80 of US$ 1.00 in all"]
    assert newly_near([SESSION]) == []
    SpendLimit.objects.update(warned_for="2001-01")
    assert len(newly_near([SESSION])) == 1


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
