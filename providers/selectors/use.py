"""Limits of use and what was used under them, ready for pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q
from django.utils import timezone

from accounts.models import ApiKey, User, Workspace
from core.figures import thousands
from providers.models import UseBook, UseLimit
from providers.selectors.limits import places

NEAR = 0.8
"""The share of a limit from which a person is warned, once a day."""

WHOSE = {"user": "this person's", "key": "the API key's", "project": "the project's"}


TOKENS_A_DAY = "limit of tokens a day"


def of_use(refusal: str) -> bool:
    """Whether a call was refused, in these words, for a limit of use and not of spending."""
    return TOKENS_A_DAY in refusal


def minute_of(moment: datetime) -> str:
    """The window of a minute (UTC): ``2026-11-20T10:31``."""
    return moment.strftime("%Y-%m-%dT%H:%M")


def day_of(moment: datetime) -> str:
    """The window of a day (UTC): ``2026-11-20``."""
    return moment.strftime("%Y-%m-%d")


@dataclass(frozen=True, slots=True)
class UseState:
    """A limit of use and what was used of it in the running minute and day (UTC).

    ``reserved`` is the most tokens that calls now out can take; it is not part of ``tokens``.
    """

    limit: UseLimit
    requests: int = 0
    tokens: int = 0
    reserved: int = 0
    who: str = ""

    @property
    def scope(self) -> str:
        """Whose limit it is: ``user:<id>``, ``key:<id>`` or ``project:<id>``."""
        return self.limit.scope

    @property
    def period(self) -> str:
        """The window of tokens."""
        return "day"

    @property
    def share(self) -> float:
        """The share of the day's tokens that is used, from 0; 0 without a limit of tokens."""
        most = self.limit.tokens_per_day
        return self.tokens / most if most else 0.0

    @property
    def percent(self) -> int:
        """How far the bar reaches, calls now out included."""
        most = self.limit.tokens_per_day
        return min(100, round(100 * (self.tokens + self.reserved) / most)) if most else 0

    @property
    def near(self) -> bool:
        """Whether the warning is due."""
        return self.share >= NEAR

    @property
    def used_up(self) -> bool:
        """Whether nothing is left of the day's tokens."""
        return self.share >= 1

    @property
    def name(self) -> str:
        """Which limit it is, in words: "the project's limit of tokens a day"."""
        return f"{WHOSE[self.scope.partition(':')[0]]} {TOKENS_A_DAY}"

    @property
    def text(self) -> str:
        """For example "81,000 of 100,000 tokens today"."""
        most = self.limit.tokens_per_day
        used = thousands(self.tokens)
        return (
            f"{used} tokens today" if most is None else f"{used} of {thousands(most)} tokens today"
        )


def use_states(scopes: Sequence[str]) -> list[UseState]:
    """The limits of use of an analysis' scopes, which name their workspace. Two queries.

    A person's limits differ by workspace, so without ``workspace:<id>`` among them there are none.
    """
    found = [scope for scope in scopes if scope.startswith("workspace:")]
    if not found:
        return []
    workspace = int(found[0].partition(":")[2])
    return _states(list(UseLimit.objects.filter(workspace=workspace, scope__in=scopes)))


def use_room(scopes: Sequence[str]) -> bool:
    """Whether calls may go on: no limit of tokens a day is used up. Two queries, one without."""
    return not any(state.used_up for state in use_states(scopes))


def use_limits(workspace: Workspace) -> list[UseState]:
    """Every limit of use with whose it is, most used first. At most six queries."""
    limits = list(UseLimit.objects.filter(workspace=workspace))
    names = _names(workspace, [row.scope for row in limits])
    states = _states(limits, names)
    return sorted(states, key=lambda state: (-state.share, state.who, state.scope))


def _states(limits: list[UseLimit], names: dict[str, str] | None = None) -> list[UseState]:
    if not limits:
        return []
    now = timezone.now()
    windows = (minute_of(now), day_of(now))
    wanted = Q(pk__in=[])
    for row in limits:
        wanted |= Q(workspace=row.workspace_id, scope=row.scope)
    books = {
        (book.workspace_id, book.scope, book.window): book
        for book in UseBook.objects.filter(wanted, window__in=windows)
    }
    states = []
    for row in limits:
        minute, day = (
            books.get((row.workspace_id, row.scope, window)) or UseBook() for window in windows
        )
        who = (names or {}).get(row.scope, "")
        states.append(UseState(row, minute.requests, day.tokens, day.reserved, who))
    return states


def _names(workspace: Workspace, scopes: Sequence[str]) -> dict[str, str]:
    """Whom the scopes mean; people and keys that are gone have no name."""
    pks = {
        sort: [int(scope.partition(":")[2]) for scope in scopes if scope.startswith(f"{sort}:")]
        for sort in ("user", "key")
    }
    people = User.objects.filter(pk__in=pks["user"], memberships__workspace=workspace)
    keys = ApiKey.objects.filter(pk__in=pks["key"], workspace=workspace)
    names = {f"user:{row.pk}": str(row) for row in people}
    names |= {f"key:{row.pk}": str(row) for row in keys}
    return names | {place.scope: place.name for place in places(workspace)}
