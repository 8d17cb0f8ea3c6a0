"""What an analysis has cost so far, counted from the journal."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import Count, Q, Sum, Value
from django.db.models.functions import Now

from analyses.events import BudgetNear
from analyses.models import ENDED, AnalysisSession
from analyses.selectors.scopes import spend_scopes, use_scopes
from core.events import publish
from providers.models import CallState, LlmAttempt, LlmCall, Period, SpendBook
from providers.selectors.use import UseState
from providers.services import LimitState, newly_near, newly_near_use

LATELY = timedelta(hours=1)
"""So long after its end the books of an analysis are followed: a lost call is found in minutes."""

SHOWN = Decimal("0.000001")
"""The smallest amount that an analysis shows, in US dollars."""


def count_spending(session: AnalysisSession) -> None:
    """Recount tokens and cost from the journal, which is the only book of calls.

    ``cost`` is what was settled, ``in_doubt`` the estimate of sends that were cut off. Tells the
    analysis's watchers, once per period, when a limit is nearly reached. Call it inside the
    transaction that holds the session's row lock.
    """
    sums = LlmCall.objects.filter(analysis_id=session.pk).aggregate(
        read=Sum("tokens_in"),
        written=Sum("tokens_out"),
        spent=Sum("cost"),
        unpriced=Count("pk", filter=Q(cost__isnull=True, state=CallState.OK)),
    )
    attempts = LlmAttempt.objects.filter(call__analysis_id=session.pk).aggregate(
        retried=Count("pk", filter=~Q(error_class="cancelled")),
        doubted=Count("pk", filter=Q(in_doubt=True)),
        doubt=Sum("cost", filter=Q(in_doubt=True)),
    )
    session.tokens_in = sums["read"] or 0
    session.tokens_out = sums["written"] or 0
    session.cost = sums["spent"] or Decimal(0)
    session.unpriced_calls = sums["unpriced"]
    session.retry_count = attempts["retried"]
    session.in_doubt = attempts["doubt"] or Decimal(0)
    session.doubt_count = attempts["doubted"]
    session.save(
        update_fields=[
            "tokens_in",
            "tokens_out",
            "cost",
            "in_doubt",
            "doubt_count",
            "unpriced_calls",
            "retry_count",
        ]
    )
    _warn(session)


@transaction.atomic
def recount(pk: int) -> None:
    """Recount an analysis, whenever it ended, because calls of it were priced afterwards."""
    session = AnalysisSession.objects.select_for_update().filter(pk=pk).first()
    if session is not None:
        count_spending(session)


def follow_books() -> None:
    """Show on analyses what the books say by now; part of the supervisors' tick.

    The sums are counted when a stage ends, which for a large analysis takes long. In between, and
    when a call that was cut off comes to light after the end, cost and doubt are taken from the
    books. Two queries when nothing changed.
    """
    shown = AnalysisSession.objects.filter(
        ~Q(status__in=ENDED) | Q(finished_at__gte=Now() - Value(LATELY))
    ).values_list("pk", "cost", "in_doubt")
    scopes = {f"analysis:{pk}": (pk, cost, doubt) for pk, cost, doubt in shown}
    books = SpendBook.objects.filter(scope__in=scopes, key=Period.ALL)
    for scope, spent, doubt in books.values_list("scope", "spent", "doubt"):
        pk, *before = scopes[scope]
        if before != [_shown(spent), _shown(doubt)]:
            _follow(pk)


@transaction.atomic
def _follow(pk: int) -> None:
    session = AnalysisSession.objects.select_for_update().filter(pk=pk).first()
    book = SpendBook.objects.filter(scope=f"analysis:{pk}", key=Period.ALL).first()
    if session is None or book is None:
        return
    doubted = LlmAttempt.objects.filter(call__analysis_id=pk, in_doubt=True)
    session.cost, session.in_doubt = _shown(book.spent), _shown(book.doubt)
    session.doubt_count = doubted.count()
    session.save(update_fields=["cost", "in_doubt", "doubt_count"])
    _warn(session)


def _shown(amount: Decimal) -> Decimal:
    """As an analysis holds it: the books are finer."""
    return amount.quantize(SHOWN)


def _warn(session: AnalysisSession) -> None:
    near: list[LimitState | UseState] = [
        *newly_near(spend_scopes(session)),
        *newly_near_use(use_scopes(session)),
    ]
    for state in near:
        publish(
            session.topic,
            BudgetNear(scope=state.scope, period=state.period, text=state.text, share=state.share),
        )
