"""Reads about templates."""

from __future__ import annotations

from django.db.models import Exists, OuterRef, Q, QuerySet

from accounts.models import User, Workspace
from templates_app.models import AnalysisTemplate, TemplateVersion


def templates(user: User) -> QuerySet[AnalysisTemplate]:
    """Shipped templates and those of the person's workspaces that have a version."""
    mine = Q(workspace__memberships__user=user)
    if user.acting_key is not None:
        mine &= Q(workspace=user.acting_key.workspace_id)
    mine |= Q(workspace=None)
    usable = Exists(TemplateVersion.objects.filter(template=OuterRef("pk")))
    return AnalysisTemplate.objects.filter(mine & usable).prefetch_related("versions__facets")


def newest_version(workspace: Workspace | None, key: str) -> TemplateVersion | None:
    """The newest version of a template by key; a workspace's own goes before a shipped one."""
    rows = TemplateVersion.objects.filter(template__key=key).select_related("template")
    own = rows.filter(template__workspace=workspace) if workspace else rows.none()
    shipped = rows.filter(template__workspace=None)
    return own.order_by("-number").first() or shipped.order_by("-number").first()
