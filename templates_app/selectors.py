"""Reads about templates."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from accounts.models import User, Workspace
from templates_app.models import AnalysisTemplate, TemplateVersion


def templates(user: User) -> QuerySet[AnalysisTemplate]:
    """Shipped templates and those of the person's workspaces."""
    mine = Q(workspace=None) | Q(workspace__memberships__user=user)
    return AnalysisTemplate.objects.filter(mine).prefetch_related("versions__facets")


def newest_version(workspace: Workspace | None, key: str) -> TemplateVersion | None:
    """The newest version of a template by key; a workspace's own goes before a shipped one."""
    rows = TemplateVersion.objects.filter(template__key=key).select_related("template")
    own = rows.filter(template__workspace=workspace) if workspace else rows.none()
    shipped = rows.filter(template__workspace=None)
    return own.order_by("-number").first() or shipped.order_by("-number").first()
