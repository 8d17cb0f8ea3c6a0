"""Who sets which limit, and what is told of it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from accounts.models import User, Workspace
from core.errors import Forbidden, Invalid, NotFound
from providers.models import SpendLimit
from providers.runner import DatabaseJournal
from providers.services import limit_states, newly_near, room, set_limit
from tests.providers.books import SESSION, intent, limit
from tests.providers.test_journal import answered, failed, journal

__all__ = ["journal"]


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
    assert limit_states([SESSION])[0].text == "$0.00 of $10.00 in all"
    one, two = intent("a", 1, reserved=8.5), intent("b", 2, reserved=0.25)
    journal.write([one, answered(one, cost=8.0), two, failed(two, in_doubt=True)])
    (state,) = limit_states([SESSION, "project:3"])
    assert state.text == "$8.25 of $10.00 in all"
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
    assert [state.text for state in newly_near([SESSION])] == ["$0.80 of $1.00 in all"]
    assert newly_near([SESSION]) == []
    SpendLimit.objects.update(warned_for="2001-01")
    assert len(newly_near([SESSION])) == 1
