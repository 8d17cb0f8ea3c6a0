"""Opening the text of a conversation as it was written."""

from __future__ import annotations

from django.db import transaction

from accounts.models import Role, User
from accounts.services import audit, require
from analyses.models import AnalysisItem, AnalysisSession


def reveal(*, actor: User, session: AnalysisSession, item: AnalysisItem) -> None:
    """Record that a person opened the unredacted text; raises ``Forbidden`` below Analyst."""
    workspace = session.project.workspace
    require(actor, workspace, Role.ANALYST)
    with transaction.atomic():
        audit(
            workspace=workspace,
            actor=actor,
            action="conversation.revealed",
            obj=item.conversation,
            analysis=session.pk,
            removed=len(item.spans),
        )
