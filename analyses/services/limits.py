"""Spending limits of an analysis: one act for the person who waits for it."""

from __future__ import annotations

from decimal import Decimal

from accounts.models import User
from analyses.models import AnalysisSession, BlockReason, SessionStatus
from analyses.services.sessions import resume
from providers.services import room, set_limit


def scope_of(session: AnalysisSession, kind: str) -> str:
    """The scope of a limit: ``analysis``, ``project`` or ``workspace`` of this analysis."""
    numbers = {
        "analysis": session.pk,
        "project": session.project_id,
        "workspace": session.project.workspace_id,
    }
    return f"{kind}:{numbers.get(kind, 0)}"


def limit_spending(
    *, actor: User, session: AnalysisSession, kind: str, period: str, amount: Decimal | None
) -> AnalysisSession:
    """Set, change or with ``None`` remove a limit, in US dollars, that an analysis works under.

    An analysis that was blocked by its budget goes on when there is room again. Raises
    ``Forbidden`` below Analyst, for limits of the project or workspace below Owner, and
    ``Invalid``.
    """
    set_limit(
        actor=actor,
        workspace=session.project.workspace,
        scope=scope_of(session, kind),
        period=period,
        amount=amount,
    )
    blocked = (session.status, session.reason) == (SessionStatus.BLOCKED, BlockReason.BUDGET)
    scopes = [scope_of(session, one) for one in ("analysis", "project", "workspace")]
    return resume(actor=actor, session=session) if blocked and room(scopes) else session
