"""The sample analysis that a fresh installation shows at work."""

from __future__ import annotations

from accounts.models import Role, User
from analyses.models import AnalysisSession
from analyses.services.sessions import start_session
from projects.models import DatasetStatus, Project
from templates_app.models import TemplateVersion

SAMPLE_TEMPLATE = "customer-support"


def ensure_sample_session() -> AnalysisSession | None:
    """Start the sample's first analysis with the local engine, once.

    Does nothing while the sample has no analyst to act for, no ready data, or an analysis.
    """
    project = Project.objects.filter(is_sample=True).order_by("pk").first()
    if project is None or project.analyses.exists():
        return None
    dataset = project.datasets.filter(status=DatasetStatus.READY).first()
    version = (
        TemplateVersion.objects.filter(template__key=SAMPLE_TEMPLATE, template__workspace=None)
        .order_by("-number")
        .first()
    )
    actor = User.objects.filter(
        memberships__workspace=project.workspace,
        memberships__role__in=(Role.OWNER, Role.ANALYST),
    ).first()
    if dataset is None or version is None or actor is None:
        return None
    return start_session(
        actor=actor, project=project, dataset=dataset, template_version=version, name="First look"
    )


def welcome(owner: User) -> str | None:
    """Start the sample for the first owner; returns the address of its live page."""
    session = ensure_sample_session()
    if session is None:
        return None
    return f"/p/{session.project.slug}/analyses/{session.number}/live/"
