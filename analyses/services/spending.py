"""What an analysis has cost so far, counted from the journal."""

from __future__ import annotations

from decimal import Decimal

from django.db.models import Count, Q, Sum

from analyses.events import BudgetNear
from analyses.models import AnalysisSession
from core.events import publish
from providers.models import CallState, LlmAttempt, LlmCall
from providers.services import newly_near


def spend_scopes(session: AnalysisSession) -> list[str]:
    """The scopes whose limits hold for an analysis: its own, its project's, its workspace's."""
    return [
        f"analysis:{session.pk}",
        f"project:{session.project_id}",
        f"workspace:{session.project.workspace_id}",
    ]


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
    for state in newly_near(spend_scopes(session)):
        publish(
            session.topic,
            BudgetNear(scope=state.scope, period=state.period, text=state.text, share=state.share),
        )
