"""Who asks what another asks: one send between processes, doubt, and calls nobody waits for."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from accounts.models import Workspace
from core.work import owner_name
from providers.models import LlmAttempt, LlmCall
from providers.runner import DatabaseJournal
from providers.services import doubt_lost_calls
from tests.providers.books import book, intent, words
from tests.providers.support import race
from tests.providers.test_journal import answered, failed, journal

__all__ = ["journal"]


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

    def work(number: int) -> None:
        journal = DatabaseJournal(workspace.pk)
        for turn in range(40):
            row = intent(ticket=number * 100 + turn + 1, fingerprint=f"{turn:064x}")
            if words(journal, row) == ["go"]:
                sends.append(row.fingerprint)
                journal.write([answered(row, cost=0.1)])

    race(work, 6)
    assert sorted(sends) == [f"{turn:064x}" for turn in range(40)]


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
