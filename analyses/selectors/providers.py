"""Which models of the workspace an analysis may go on with, by what a program knows."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from analyses.selectors.starting import deployments_for
from core.errors import Invalid
from projects.models import Project


def models_of(project: Project, chat: UUID | None, fallback: UUID | None = None) -> dict[str, Any]:
    """The first chat model of each provider, ``None`` where none is named. Raises :class:`Invalid` for what is not offered."""
    asked = {"chat": chat, "fallback": fallback}
    found = {
        name: deployments_for(project).filter(provider__uid=uid).first() if uid else None
        for name, uid in asked.items()
    }
    wrong = {name: MISSING for name, uid in asked.items() if uid and found[name] is None}
    if wrong:
        raise Invalid(fields=wrong)
    return found


MISSING = "There is no such provider that is switched on."
