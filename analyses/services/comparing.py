"""Asking for a comparison of models."""

from __future__ import annotations

from accounts.models import User
from analyses.models import AnalysisSession
from analyses.selectors.comparisons import PROBES
from projects.models import Job
from projects.services.jobs import start_job
from providers.models import ModelDeployment


def compare_with(
    *, actor: User, session: AnalysisSession, chat: ModelDeployment, count: int | None = None
) -> Job:
    """Have another model read ``count`` conversations that were read already; changes no result.

    Raises ``Forbidden`` below the role Analyst, ``Invalid`` when there is nothing to compare.
    """
    return start_job(
        actor=actor,
        project=session.project,
        kind="compare",
        settings={"analysis": session.number, "chat": chat.pk, "count": count or PROBES},
        matching={},
    )
