"""Spending limits of an analysis: one act for the person who waits for it."""

from __future__ import annotations

from decimal import Decimal

from accounts.models import User
from analyses.models import AnalysisSession, BlockReason, SessionStatus
from analyses.services.sessions import resume
from analyses.services.spending import spend_scopes
from providers.services import room, set_limit


def limit_spending(
    *, actor: User, session: AnalysisSession, kind: str, period: str, amount: Decimal | None
) -> AnalysisSession:
    """Set, change or with ``None`` remove a limit, in US dollars, that an analysis works under.

    An analysis that was blocked by its budget goes on when there is room again. Raises
    ``Forbidden`` below Analyst, for limits of the project or workspace below Owner, and
    ``Invalid``. ``kind`` is ``analysis``, ``project`` or ``workspace``.
    """
    scopes = spend_scopes(session)
    set_limit(
        actor=actor,
        workspace=session.project.workspace,
        scope=next((one for one in scopes if one.startswith(f"{kind}:")), kind),
        period=period,
        amount=amount,
    )
    blocked = (session.status, session.reason) == (SessionStatus.BLOCKED, BlockReason.BUDGET)
    return resume(actor=actor, session=session) if blocked and room(scopes) else session
