"""Which analyses there are, and who may see them."""

from __future__ import annotations

from collections.abc import Iterable

from accounts.models import User
from analyses.models import ENDED, AnalysisSession, SessionQuerySet, SessionStatus
from core.errors import NotFound
from projects import selectors as projects
from projects.models import Project

project_for = projects.project
"""A project the person may see; :class:`NotFound` for strangers. One query."""

PAUSABLE = frozenset({SessionStatus.QUEUED, SessionStatus.RUNNING})
RESUMABLE = frozenset({SessionStatus.PAUSED, SessionStatus.PAUSING, SessionStatus.BLOCKED})


def _with_parts(rows: SessionQuerySet) -> SessionQuerySet:
    return rows.select_related(
        "project__workspace",
        "dataset",
        "template_version__template",
        "created_by",
        "chat__provider",
        "embedding__provider",
    )


def session_for(user: User, slug: str, number: int) -> AnalysisSession:
    """Analysis ``number`` of project ``slug``; :class:`NotFound` for strangers. One query."""
    rows = AnalysisSession.objects.for_user(user).filter(project__slug=slug, number=number)
    session = _with_parts(rows).first()
    if session is None:
        raise NotFound
    return session


def session_by_pk(user: User, pk: int) -> AnalysisSession:
    """An analysis by primary key, under the same rule. One query."""
    session = _with_parts(AnalysisSession.objects.for_user(user).filter(pk=pk)).first()
    if session is None:
        raise NotFound
    return session


def sessions_of(user: User, project: Project) -> Iterable[AnalysisSession]:
    """The analyses of a project, newest first. One query."""
    rows = AnalysisSession.objects.for_user(user).filter(project=project)
    return _with_parts(rows).prefetch_related("stages")


def can_pause(session: AnalysisSession) -> bool:
    """Whether pausing makes sense now."""
    return session.status in PAUSABLE


def can_resume(session: AnalysisSession) -> bool:
    """Whether going on makes sense now."""
    return session.status in RESUMABLE


def can_stop(session: AnalysisSession) -> bool:
    """Whether there is something left to stop."""
    return session.status not in ENDED and session.status != SessionStatus.CANCELLING
