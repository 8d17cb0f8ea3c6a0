"""Limits of use: calls a minute and tokens a day, by person, API key and project."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import ApiKey, AuditEvent, User, Workspace
from core.errors import Forbidden, Invalid, NotFound
from projects.models import Project
from providers.gateway.journal import JournalRow
from providers.models import LlmCall, UseBook, UseLimit
from providers.runner import DatabaseJournal
from providers.selectors.use import day_of, minute_of, use_limits, use_room, use_states
from providers.services import doubt_lost_calls
from providers.services.use import newly_near_use, prune_use, set_use_limit
from tests.providers.books import intent, words
from tests.providers.support import race
from tests.providers.test_journal import answered, failed, journal

__all__ = ["journal"]


@pytest.fixture
def mine(owner: User, workspace: Workspace) -> str:
    return f"user:{owner.pk}"


def set_limit(owner: User, workspace: Workspace, scope: str, *limits: int | None) -> None:
    minute, day = limits
    set_use_limit(
        actor=owner,
        workspace=workspace,
        scope=scope,
        requests_per_minute=minute,
        tokens_per_day=day,
    )


def ask(person: User, ticket: int, **changes: Any) -> JournalRow:
    values = {"fingerprint": f"{ticket:064x}", "user": person.pk, "tokens_reserved": 100, **changes}
    return replace(intent(ticket=ticket), **values)


def book(scope: str, window: str = "") -> tuple[int, int, int]:
    """Calls this minute, tokens and reserved tokens today."""
    now = timezone.now()
    rows = UseBook.objects.filter(scope=scope)
    minute = sum(row.requests for row in rows.filter(window__startswith=day_of(now) + "T"))
    day = rows.filter(window=window or day_of(now)).first() or UseBook()
    return minute, day.tokens, day.reserved


def test_a_call_is_reserved_then_counted_by_what_it_took(
    journal: DatabaseJournal, owner: User, workspace: Workspace, mine: str
) -> None:
    set_limit(owner, workspace, mine, 10, 1000)
    row = ask(owner, 1)
    assert words(journal, row) == ["go"]
    assert book(mine) == (1, 0, 100)
    journal.write([answered(row)])
    journal.write([answered(row)])
    assert book(mine) == (1, 15, 0)


def test_over_the_day_is_refused_by_name_and_heals_at_midnight(
    journal: DatabaseJournal, owner: User, workspace: Workspace, mine: str
) -> None:
    set_limit(owner, workspace, mine, None, 150)
    one, two = ask(owner, 1), ask(owner, 2)
    assert words(journal, one, two) == ["go", "wait"]  # the first may take less
    journal.write([answered(one, tokens_in=60, tokens_out=20)])
    verdict = journal.write([two])[2]
    assert verdict.word == "refused"
    assert verdict.text == (
        "The next call may take 100 tokens, which does not fit under this person's limit of "
        "tokens a day: 80 of 150 tokens today. Raise the limit to go on, or wait until midnight "
        "UTC."
    )
    assert LlmCall.objects.count() == 1
    assert not use_states([f"workspace:{workspace.pk}"])
    scopes = [mine, f"workspace:{workspace.pk}"]
    assert use_room(scopes)
    UseBook.objects.update(tokens=150)
    assert not use_room(scopes)
    today = UseBook.objects.filter(window=day_of(timezone.now()))
    today.update(window=day_of(timezone.now() - timedelta(days=1)))  # midnight passes
    assert use_room(scopes)
    assert words(journal, two) == ["go"]


def test_over_the_minute_waits_and_the_next_minute_lets_it_through(
    journal: DatabaseJournal, owner: User, workspace: Workspace, mine: str
) -> None:
    set_limit(owner, workspace, mine, 2, None)
    frozen = [ask(owner, number) for number in (1, 2, 3)]
    asked = words(journal, *frozen)
    if asked != ["go", "go", "wait"]:  # a minute began in between: both windows hold two at most
        assert asked == ["go", "go", "go"]
    UseBook.objects.filter(window=minute_of(timezone.now())).update(requests=2)
    assert words(journal, ask(owner, 4)) in (["wait"], ["go"])
    UseBook.objects.all().delete()
    assert words(journal, ask(owner, 5)) == ["go"]


def test_a_batch_is_no_request_a_minute_but_its_tokens_count(
    journal: DatabaseJournal, owner: User, workspace: Workspace, mine: str
) -> None:
    set_limit(owner, workspace, mine, 1, 1000)
    rows = [ask(owner, number, batched=True) for number in range(1, 6)]
    assert words(journal, *rows) == ["go"] * 5
    assert book(mine) == (0, 0, 500)


def test_what_never_left_is_given_back_and_what_is_in_doubt_counts_whole(
    journal: DatabaseJournal, owner: User, workspace: Workspace, mine: str
) -> None:
    set_limit(owner, workspace, mine, 10, 1000)
    one, two = ask(owner, 1), ask(owner, 2)
    journal.write([one, two])
    journal.write([failed(one, unsent=True), failed(two, in_doubt=True)])
    assert book(mine) == (1, 100, 0)
    again = ask(owner, 3, fingerprint=two.fingerprint)
    journal.write([again, answered(again, found=True)])  # the provider had kept its answer
    assert book(mine)[1:] == (15, 0)


def test_a_call_whose_process_is_gone_counts_whole(
    journal: DatabaseJournal, owner: User, workspace: Workspace, mine: str
) -> None:
    set_limit(owner, workspace, mine, None, 1000)
    journal.write([ask(owner, 1, owner="elsewhere:1:1"), ask(owner, 2, open_for=0)])
    assert doubt_lost_calls(owner="elsewhere:1:1") == 1
    journal.write([ask(owner, 3, fingerprint=f"{2:064x}")])  # finds the second one lost
    assert book(mine) == (3, 200, 100)


def test_use_before_the_limit_was_set_already_counts(
    journal: DatabaseJournal, owner: User, workspace: Workspace, mine: str
) -> None:
    one, two, three = (ask(owner, number) for number in (1, 2, 3))
    journal.write([one, two, three, answered(one), failed(two, in_doubt=True)])
    assert not UseBook.objects.exists()
    set_limit(owner, workspace, mine, 50, 1000)
    assert book(mine)[1:] == (115, 100)
    journal.write([answered(three)])
    assert book(mine)[1:] == (130, 0)
    set_limit(owner, workspace, mine, None, None)
    assert not UseBook.objects.exists()
    assert not UseLimit.objects.exists()


def test_each_scope_has_its_own_limit_and_the_hardest_answers(
    journal: DatabaseJournal, owner: User, workspace: Workspace, project: Project, mine: str
) -> None:
    key = ApiKey.objects.create(
        workspace=workspace, user=owner, name="CI", prefix="oc_", digest="d"
    )
    set_limit(owner, workspace, mine, None, 10_000)
    set_limit(owner, workspace, f"key:{key.pk}", None, 250)
    set_limit(owner, workspace, f"project:{project.pk}", None, 120)
    here = {"project": project.pk, "key": key.pk}
    assert words(journal, ask(owner, 1, **here), ask(owner, 2, **here)) == ["go", "wait"]
    assert words(journal, ask(owner, 3, project=99, key=key.pk)) == ["go"]
    assert words(journal, ask(owner, 4, project=99)) == ["go"]
    other = intent(ticket=5, fingerprint=f"{5:064x}", user=owner.pk + 1, tokens_reserved=9999)
    assert words(journal, other) == ["go"]
    states = {state.scope: state for state in use_limits(workspace)}
    assert {scope: state.reserved for scope, state in states.items()} == {
        mine: 300,
        f"key:{key.pk}": 200,
        f"project:{project.pk}": 100,
    }
    assert states[f"key:{key.pk}"].who.startswith("CI")
    assert states[f"project:{project.pk}"].who == "Support"


def test_nobody_limits_anybody_of_another_workspace(
    journal: DatabaseJournal, owner: User, other_owner: User, other_workspace: Workspace, mine: str
) -> None:
    UseLimit.objects.create(workspace=other_workspace, scope=mine, tokens_per_day=1)
    assert words(journal, ask(owner, 1)) == ["go"]
    assert not UseBook.objects.exists()


@pytest.mark.parametrize(
    ("scope", "minute", "day"),
    [
        ("user:0", 1, 1),
        ("project:0", 1, 1),
        ("key:0", 1, 1),
        ("workspace:1", 1, 1),
        ("user:x", 1, 1),
        ("", 1, 1),
        ("mine", 0, 1),
        ("mine", 1, -1),
        ("mine", 10**9, 1),
    ],
)
def test_limits_that_cannot_be(
    owner: User, workspace: Workspace, mine: str, scope: str, minute: int, day: int
) -> None:
    with pytest.raises(Invalid):
        set_limit(owner, workspace, mine if scope == "mine" else scope, minute, day)


def test_limits_are_the_owners(
    analyst: User, outsider: User, workspace: Workspace, mine: str
) -> None:
    with pytest.raises(Forbidden):
        set_limit(analyst, workspace, mine, 1, 1)
    with pytest.raises(NotFound):
        set_limit(outsider, workspace, mine, 1, 1)
    assert not AuditEvent.objects.filter(action__startswith="use_limit").exists()


def test_a_person_is_warned_once_a_day_from_four_fifths_on(
    journal: DatabaseJournal, owner: User, workspace: Workspace, mine: str
) -> None:
    set_limit(owner, workspace, mine, None, 100)
    scopes = [mine, f"workspace:{workspace.pk}"]
    row = ask(owner, 1, tokens_reserved=90)
    journal.write([row, answered(row, tokens_in=70, tokens_out=9)])
    assert newly_near_use(scopes) == []
    more = ask(owner, 2, tokens_reserved=5)
    journal.write([more, answered(more, tokens_in=1, tokens_out=0)])
    (state,) = newly_near_use(scopes)
    assert (state.text, state.share) == ("80 of 100 tokens today", 0.8)
    assert newly_near_use(scopes) == []


def test_old_windows_are_removed(owner: User, workspace: Workspace, mine: str) -> None:
    now = timezone.now()
    kept = [minute_of(now), day_of(now), day_of(now - timedelta(days=1))]
    gone = [minute_of(now - timedelta(hours=2)), day_of(now - timedelta(days=4))]
    for window in (*kept, *gone):
        UseBook.objects.create(workspace=workspace, scope=mine, window=window)
    assert prune_use() == 2
    assert set(UseBook.objects.values_list("window", flat=True)) == set(kept)
    assert prune_use() == 0


def test_limits_cost_three_statements_and_nothing_without_them(
    journal: DatabaseJournal,
    owner: User,
    workspace: Workspace,
    mine: str,
    django_assert_num_queries: Any,
) -> None:
    journal.write([ask(owner, 99)])
    with django_assert_num_queries(8):
        journal.write([ask(owner, number) for number in range(1, 20)])
    set_limit(owner, workspace, mine, 1000, 1_000_000)
    with django_assert_num_queries(8 + 4):  # limits, a minute, a day, and what was used
        journal.write([ask(owner, number) for number in range(20, 40)])


@pytest.mark.django_db(transaction=True)
def test_processes_that_race_for_the_last_token_do_not_overshoot(
    owner: User, workspace: Workspace, mine: str
) -> None:
    """Six journals want 6 × 10 calls of 100 tokens under a limit of 2,050: twenty may go."""
    set_limit(owner, workspace, mine, None, 2050)
    gone: list[int] = []

    def work(number: int) -> None:
        journal = DatabaseJournal(workspace.pk)
        for turn in range(10):
            row = ask(owner, number * 100 + turn + 1, session=number, project=number)
            if words(journal, row) == ["go"]:
                gone.append(row.ticket)
                journal.write([answered(row, tokens_in=90, tokens_out=10)])

    race(work, 6)
    assert len(gone) == 20
    assert sum(row.tokens for row in UseBook.objects.filter(window__contains="-")) == 2000
    assert sum(row.reserved for row in UseBook.objects.all()) == 0
