"""Whose spending limits hold for an analysis."""

from __future__ import annotations

from analyses.models import AnalysisSession


def spend_scopes(session: AnalysisSession) -> list[str]:
    """The scopes whose limits hold for an analysis: its own, its project's, its workspace's."""
    return [
        f"analysis:{session.pk}",
        f"project:{session.project_id}",
        f"workspace:{session.project.workspace_id}",
    ]
