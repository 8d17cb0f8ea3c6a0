"""Analyses in the lists of jobs and of the trash."""

from __future__ import annotations

from django.db.models import QuerySet
from django.db.models.functions import Now
from django.urls import reverse

from analyses.models import ENDED, AnalysisSession
from core.figures import count_of
from projects.models import Project
from projects.selectors.jobs import Entry
from projects.selectors.trash import Thing, being_purged


def entries(projects: QuerySet[Project]) -> list[Entry]:
    """Analyses that have not ended. Their buttons are on their own pages. One query."""
    rows = AnalysisSession.objects.kept().filter(project__in=projects).exclude(status__in=ENDED)
    return [_entry(row) for row in rows.select_related("project", "created_by")]


def _entry(session: AnalysisSession) -> Entry:
    through = session.read_count + session.failed_count
    text = f"{session.read_count:,} of {session.total:,} read"
    return Entry(
        key=f"analysis-{session.pk}",
        name=session.name,
        href=reverse("analyses:live", args=[session.project.slug, session.number]),
        project=session.project.name,
        sort="Analysis",
        at=session.created_at,
        state=session.status,
        state_text=session.get_status_display(),
        text=f"{text} · {session.failed_count:,} failed" if session.failed_count else text,
        who=str(session.created_by) if session.created_by else "OpenClio",
        percent=100 * through / session.total if session.total else None,
        reason=session.detail,
    )


def trashed(project: Project) -> list[Thing]:
    """Deleted analyses, apart from those whose data set is deleted. One query."""
    rows = AnalysisSession.objects.filter(
        project=project, deleted_at__lte=Now(), dataset__deleted_at=None
    ).exclude(pk__in=being_purged("analyses"))
    return [
        Thing(
            "analyses",
            row.number,
            row.name,
            "Analysis",
            f"{count_of(row.read_count, 'conversation')} read",
            row.deleted_at,
        )
        for row in rows
        if row.deleted_at
    ]
