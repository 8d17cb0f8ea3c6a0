"""Comparing another model with the one that read, before it takes over."""

from __future__ import annotations

from collections.abc import Sequence

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.models import Role
from accounts.selectors import person
from accounts.services import reaches, role_of
from analyses.models import AnalysisSession
from analyses.selectors import comparisons, controls, readers, sessions, starting
from providers.models import ModelDeployment


def _others(session: AnalysisSession, found: Sequence[readers.Reader]) -> list[ModelDeployment]:
    """Models beside which another one has read; comparing one with itself says nothing."""
    models = starting.deployments_for(session.project)
    return [one for one in models if any(reader.model != one.model for reader in found)]


@login_required
@require_safe
def compare(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """What was compared, who read and what changed; from here a comparison is asked for."""
    user = person(request)
    session = sessions.session_for(user, slug, number)
    may_run = reaches(role_of(user, session.project.workspace), Role.ANALYST)
    found = readers.readers_of(session)
    context = {
        "session": session,
        "may_run": may_run,
        "may_switch": may_run and controls.allows(session, "providers"),
        "models": _others(session, found) if may_run else [],
        "usual": comparisons.PROBES,
        "most": comparisons.MOST_PROBES,
        "comparisons": comparisons.comparisons_of(session),
        "mixed": readers.mixed_text(found),
        "readers": found,
        "changes": readers.changes_of(session),
    }
    return render(request, "analyses/compare.html", context)
