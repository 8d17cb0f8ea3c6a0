"""Deleting data sets, analyses and conversations: into the trash, with a way back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from typing_extensions import override

from analyses.models import ENDED, AnalysisSession, SessionStatus
from analyses.selectors import chosen
from analyses.services.jobs.listed import Listed
from analyses.services.sessions import cancel
from core.errors import NotFound
from core.figures import count_of
from projects.models import Conversation, Dataset, ItemState, Job, JobItem, Project
from projects.services.imports import stop_imports
from projects.services.kinds import Run, Settings, Wanted, actor_of
from projects.services.trash import Deleting, recount

BACK = "They go to the trash. You can restore them for 30 days."


def stop(job: Job, session: AnalysisSession) -> None:
    """Stop an analysis that is at work; what it saved stays."""
    if session.status not in ENDED and session.status != SessionStatus.CANCELLING:
        cancel(actor=actor_of(job), session=session)


class DeleteAnalyses(Listed, Deleting):
    """Analyses into the trash; those at work are stopped first."""

    key = "delete_analyses"
    what = "analyses"
    model = AnalysisSession
    chosen = staticmethod(chosen.sessions)

    @override
    def title(self, wanted: Wanted, count: int) -> str:
        """Words for the list of jobs."""
        return f"Delete {count_of(count, 'analysis', 'analyses')}"

    @override
    def says(self, wanted: Wanted, count: int) -> list[str]:
        """What is lost and what is not."""
        going = self.rows(wanted).exclude(status__in=ENDED).count()
        said = [BACK]
        if going:
            said.append(f"{count_of(going, 'analysis', 'analyses')} at work will be stopped.")
        return said

    @override
    def item(self, run: Run, item: JobItem) -> str:
        """What is at work stops."""
        session = AnalysisSession.objects.select_related("project__workspace").get(pk=item.ref)
        stop(run.job, session)
        return ItemState.DONE


class DeleteDatasets(Listed, Deleting):
    """Data sets into the trash, and with them their analyses."""

    key = "delete_datasets"
    what = "datasets"
    model = Dataset
    chosen = staticmethod(chosen.datasets)

    @override
    def title(self, wanted: Wanted, count: int) -> str:
        """Words for the list of jobs."""
        return f"Delete {count_of(count, 'data set')}"

    @override
    def says(self, wanted: Wanted, count: int) -> list[str]:
        """What is lost and what is not."""
        inside = AnalysisSession.objects.kept().filter(dataset__in=self.rows(wanted))
        going = inside.exclude(status__in=ENDED).count()
        said = [BACK]
        if inside.count():
            said.append(f"{count_of(inside.count(), 'analysis', 'analyses')} of them go as well.")
        if going:
            said.append(f"{going} of these are at work and will be stopped.")
        return said

    @override
    def item(self, run: Run, item: JobItem) -> str:
        """Analyses and imports of it that are at work stop."""
        dataset = Dataset.objects.get(pk=item.ref)
        for session in dataset.analyses.select_related("project__workspace"):
            stop(run.job, session)
        stop_imports(dataset)
        return ItemState.DONE


class ConversationSettings(Settings):
    """``dataset`` is the number of a data set; or ``analysis``, whose filters then apply."""

    dataset: int | None = None
    analysis: int | None = None


class DeleteConversations(Deleting):
    """Conversations into the trash. Analyses that read them show them as deleted."""

    key = "delete_conversations"
    what = "conversations"
    model = Conversation
    settings: ClassVar[type[Settings]] = ConversationSettings
    size = 1000

    @override
    def select(self, wanted: Wanted) -> QuerySet[Any, Any]:
        """By position in the data set, or by the filter of an analysis."""
        given = wanted.settings
        if given.analysis is not None:
            session = session_of(wanted, given.analysis)
            rows = chosen.items(session, wanted.ids, wanted.filter)
            kept = rows.filter(conversation__deleted_at=None)
            return kept.values_list("conversation_id", "conversation__external_id")
        dataset = wanted.project.datasets.filter(deleted_at=None, number=given.dataset).first()
        if dataset is None:
            raise NotFound
        kept_rows = dataset.conversations.filter(deleted_at=None).order_by("position")
        if wanted.ids is not None:
            kept_rows = kept_rows.filter(position__in=wanted.ids)
        return kept_rows.values_list("pk", "external_id")

    @override
    def title(self, wanted: Wanted, count: int) -> str:
        """Words for the list of jobs."""
        return f"Delete {count_of(count, 'conversation')}"

    @override
    def says(self, wanted: Wanted, count: int) -> list[str]:
        """What is lost and what is not."""
        return [BACK, "Analyses keep their counts and show these conversations as deleted."]

    @override
    def begin(self, job: Job) -> None:
        """They disappear, and the figures of their data sets follow."""
        super().begin(job)
        self._recount(job)

    @override
    def undo(self, job: Job) -> int:
        """They come back, and the figures with them."""
        back = super().undo(job)
        self._recount(job)
        return back

    @override
    def restore(self, project: Project, number: int) -> str:
        """Conversations come back as they went: together."""
        rows = project.jobs.filter(pk=number, kind=self.key, undone_at=None)
        job = rows.filter(undo_until__gt=Now()).select_for_update().first()
        if job is None:
            raise NotFound
        rows.update(undone_at=Now(), result={**job.result, "restored": self.undo(job)})
        return job.title.replace("Delete ", "", 1)

    def _recount(self, job: Job) -> None:
        found = Dataset.objects.filter(pk__in=self._rows(job).order_by().values("dataset_id"))
        for dataset in found.select_for_update():
            recount(dataset)

    @override
    def chunk(self, run: Run, items: Sequence[JobItem]) -> None:
        """All happened at once; analyses at work look before they read."""
        with transaction.atomic():
            run.settle(items, ItemState.DONE)


def session_of(wanted: Wanted, number: int) -> AnalysisSession:
    """Analysis ``number`` of the project; raises ``NotFound``."""
    rows = AnalysisSession.objects.kept().filter(project=wanted.project, number=number)
    session = rows.select_related("dataset", "template_version", "project__workspace").first()
    if session is None:
        raise NotFound
    return session
