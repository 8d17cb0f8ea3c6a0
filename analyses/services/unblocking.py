"""What a person does so that a blocked analysis goes on: a higher limit, another model."""

from __future__ import annotations

from decimal import Decimal

from accounts.models import User
from analyses.models import AnalysisSession, BlockReason, SessionStatus
from analyses.selectors.scopes import spend_scopes
from analyses.services.retry import change_providers
from analyses.services.sessions import resume
from providers.models import ModelDeployment
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


def choose_models(
    *,
    actor: User,
    session: AnalysisSession,
    chat: ModelDeployment | None,
    fallback: ModelDeployment | None = None,
) -> AnalysisSession:
    """Have the rest read by another model, without one by the local engine; a blocked analysis goes on at once, a paused one waits.

    Raises what ``change_providers`` raises.
    """
    row = change_providers(actor=actor, session=session, chat=chat, fallback=fallback)
    return resume(actor=actor, session=row) if row.status == SessionStatus.BLOCKED else row
