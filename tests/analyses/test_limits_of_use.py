"""What a limit of use does to an analysis: it warns, blocks with its own words, and heals."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from accounts.models import User
from analyses.models import AnalysisSession
from analyses.selectors.scopes import use_scopes
from analyses.services import blocks
from analyses.services.spending import count_spending
from core.models import Event
from providers.models import UseBook, UseLimit
from providers.selectors.use import UseState, day_of
from providers.services.use import UseShortage, use_refusal
from tests.analyses.live_support import change, paid, told

__all__ = ["paid"]


def limited(session: AnalysisSession, tokens: int) -> UseLimit:
    """A limit of 1,000 tokens for who started the analysis, and what is used of it."""
    limit = UseLimit.objects.create(
        workspace=session.project.workspace, scope=use_scopes(session)[0], tokens_per_day=1000
    )
    UseBook.objects.create(
        workspace=limit.workspace,
        scope=limit.scope,
        window=day_of(timezone.now()),
        tokens=tokens,
    )
    return limit


def test_whose_limits_hold(paid: AnalysisSession, analyst: User) -> None:
    change(paid, created_by=analyst, params={**paid.params, "key": 5})
    assert use_scopes(paid) == [
        f"user:{analyst.pk}",
        "key:5",
        f"project:{paid.project_id}",
        f"workspace:{paid.project.workspace_id}",
    ]


def test_watchers_are_warned_once_a_day(paid: AnalysisSession, analyst: User) -> None:
    change(paid, created_by=analyst)
    limited(paid, 800)
    for _ in range(2):
        count_spending(paid)
    (said,) = Event.objects.filter(kind="budget").values_list("payload", flat=True)
    assert (said["scope"], said["text"]) == (f"user:{analyst.pk}", "800 of 1,000 tokens today")


def test_a_day_that_is_used_up_blocks_until_midnight(paid: AnalysisSession, analyst: User) -> None:
    change(paid, created_by=analyst)
    limit = limited(paid, 1000)
    detail = use_refusal(UseShortage(UseState(limit, tokens=1000), 90, passing=False))
    change(paid, status="blocked", reason="budget", detail=detail, retry_at=None)
    assert told(paid).startswith("A limit of tokens a day is reached.")
    assert not blocks.heals(paid)
    change(paid, retry_at=None)
    UseBook.objects.update(window=day_of(timezone.now() - timedelta(days=1)))
    assert blocks.heals(paid)
