"""Whose limits of spending and of use hold for an analysis."""

from __future__ import annotations

from analyses.models import AnalysisSession
from analyses.plan import RunParams


def spend_scopes(session: AnalysisSession) -> list[str]:
    """The scopes whose limits hold for an analysis: its own, its project's, its workspace's."""
    return [
        f"analysis:{session.pk}",
        f"project:{session.project_id}",
        f"workspace:{session.project.workspace_id}",
    ]


def use_scopes(session: AnalysisSession) -> list[str]:
    """The scopes whose limits of use hold: of who started it, the API key, the project.

    The workspace is named as well, because a person's limit is that of one workspace.
    """
    named = (("user", session.created_by_id), ("key", RunParams.model_validate(session.params).key))
    scopes = [f"{sort}:{pk}" for sort, pk in named if pk is not None]
    return [*scopes, f"project:{session.project_id}", f"workspace:{session.project.workspace_id}"]
