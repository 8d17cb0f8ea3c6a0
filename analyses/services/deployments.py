"""Which models an analysis may use."""

from __future__ import annotations

from core.errors import Invalid
from projects.models import Project
from providers.models import ModelDeployment


def check_deployments(
    project: Project,
    chat: ModelDeployment | None,
    embedding: ModelDeployment | None,
    fallback: ModelDeployment | None = None,
) -> None:
    """Raise :class:`Invalid` for a model of another workspace, of the other kind or switched off.

    A fallback is asked when ``chat`` does not answer, so it needs one and must be another.
    """
    named = ((chat, "provider"), (embedding, "embedding"), (fallback, "fallback"))
    for deployment, field in named:
        if deployment is not None:
            _check(project, deployment, field)
    if fallback is not None and (chat is None or chat.pk == fallback.pk):
        raise Invalid(fields={"fallback": "Choose another model than the first."})


def _check(project: Project, deployment: ModelDeployment, field: str) -> None:
    if deployment.provider.workspace_id != project.workspace_id:
        raise Invalid(fields={field: "This provider belongs to another workspace."})
    if deployment.retired or not deployment.provider.enabled:
        raise Invalid(fields={field: "This provider is switched off."})
    if deployment.embeds != (field == "embedding"):
        raise Invalid(fields={field: "This model is of the other kind."})
