"""Deleting for good what lies in the trash, some rows at a time."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

from django.conf import settings
from django.db import models, transaction
from django.db.models import CharField, F, QuerySet, Value
from django.db.models.functions import Cast, Concat
from typing_extensions import override

from accounts.models import Role
from analyses import artifacts
from analyses.models import (
    ENDED,
    AnalysisItem,
    AnalysisSession,
    Cluster,
    ClusterMembership,
    FacetValue,
)
from core.errors import AppError
from core.figures import count_of
from core.models import Topic
from projects.models import (
    Conversation,
    Dataset,
    Import,
    ItemState,
    Job,
    JobItem,
    JobKind,
    Project,
)
from projects.selectors.jobs import OPEN
from projects.selectors.trash import being_purged, expired
from projects.services.jobs import start_own
from projects.services.kinds import Kind, Run, Settings, Wanted, settings_for
from providers.models import LlmCall

ROWS = 500
"""Conversations whose rows are removed in one transaction."""

WORDS = {
    "datasets": ("data set", ""),
    "analyses": ("analysis", "analyses"),
    "conversations": ("conversation", ""),
}


class PurgeSettings(Settings):
    """``job`` names the deletion whose conversations go."""

    what: Literal["datasets", "analyses", "conversations"]
    job: int | None = None


class Purge(Kind):
    """Delete for good. Owners may; the product does it with what has lain there for 30 days."""

    key = "purge"
    role = Role.OWNER
    settings: ClassVar[type[Settings]] = PurgeSettings
    stoppable = False
    size = 500

    @override
    def select(self, wanted: Wanted) -> QuerySet[Any, Any]:
        """What lies in the trash: data sets and analyses by number, conversations by deletion."""
        given = wanted.settings
        rows = trashed(wanted.project, given.what, given.job)
        if wanted.ids is not None and given.what != "conversations":
            rows = rows.filter(number__in=wanted.ids)
        label = "external_id" if given.what == "conversations" else "name"
        return rows.order_by("pk").values_list("pk", label)

    @override
    def title(self, wanted: Wanted, count: int) -> str:
        """Words for the list of jobs."""
        return f"Delete {count_of(count, *WORDS[wanted.settings.what])} for good"

    @override
    def says(self, wanted: Wanted, count: int) -> list[str]:
        """What is lost."""
        said = ["This cannot be undone. Nothing of it can be restored afterwards."]
        if wanted.settings.what == "datasets":
            inside = AnalysisSession.objects.filter(dataset__in=self.select(wanted).values("pk"))
            said.append(f"{count_of(inside.count(), 'analysis', 'analyses')} of them go as well.")
        said.append("What was spent stays in the books, without the answers.")
        return said

    @override
    def phrase(self, wanted: Wanted) -> str:
        """The name of the one thing, else that of the project."""
        names = [str(row[1]) for row in self.select(wanted)[:2]]
        single = len(names) == 1 and wanted.settings.what != "conversations"
        return names[0] if single else wanted.project.name

    @override
    def begin(self, job: Job) -> None:
        """From now on nothing of it comes back: deletions can no longer be undone."""
        given = settings_for(self, job)
        if given.job is not None:
            Job.objects.filter(pk=given.job, project=job.project).update(undo_until=None)

    def _remove(self, run: Run, item: JobItem) -> str:
        """The one row left over: everything around it went before, in smaller pieces."""
        given = settings_for(self, run.job)
        row: models.Model | None = MODELS[given.what]._default_manager.filter(pk=item.ref).first()
        if row is not None:
            row.delete()
        return ItemState.DONE

    @override
    def chunk(self, run: Run, items: Any) -> None:
        """Empty each thing, then remove it; scrub conversations together."""
        what = settings_for(self, run.job).what
        if what == "conversations":
            with transaction.atomic():
                run.hold()
                scrub(Conversation.objects.filter(pk__in=[item.ref for item in items]))
                run.settle(items, ItemState.DONE)
            return
        for item in items:
            try:
                EMPTY[what](run, item.ref)
            except AppError as error:
                with transaction.atomic():
                    run.settle([item], ItemState.FAILED, error.text)
                continue
            with transaction.atomic():
                run.hold()
                run.settle([item], self._remove(run, item))

    @override
    def sweep(self) -> None:
        """What has lain in the trash for 30 days goes."""
        for project in Project.objects.filter(pk__in=_due_projects()):
            for what in ("analyses", "datasets"):
                self._purge_due(project, what)
        for job in Job.objects.filter(
            kind=JobKind.DELETE_CONVERSATIONS,
            undo_until__lt=models.functions.Now(),
            undone_at=None,
        ):
            refs = trashed(job.project, "conversations", job.pk).values_list("pk", flat=True)
            found = list(refs)
            if found:
                start_own(self.key, job.project, {"what": "conversations", "job": job.pk}, found)
            Job.objects.filter(pk=job.pk).update(undo_until=None)

    def _purge_due(self, project: Project, what: str) -> None:
        rows = trashed(project, what).filter(deleted_at__lt=expired())
        busy = project.jobs.filter(kind=self.key, status__in=OPEN).values("items__ref")
        refs = list(rows.exclude(pk__in=busy).values_list("pk", flat=True)[:1000])
        if refs:
            start_own(self.key, project, {"what": what}, refs)


def _due_projects() -> set[int]:
    due = expired()
    found = Dataset.objects.filter(deleted_at__lt=due).values_list("project_id", flat=True)
    others = AnalysisSession.objects.filter(deleted_at__lt=due)
    return {*found, *others.values_list("project_id", flat=True)}


def trashed(project: Project, what: str, job: int | None = None) -> QuerySet[Any, Any]:
    """What lies in a project's trash. Conversations are those that job ``job`` deleted."""
    if what == "conversations":
        found = project.jobs.filter(pk=job or 0, kind=JobKind.DELETE_CONVERSATIONS, undone_at=None)
        maker = found.first()
        if maker is None:
            return Conversation.objects.none()
        refs = maker.items.order_by().values("ref")
        return Conversation.objects.filter(pk__in=refs, deleted_at=maker.created_at)
    rows = MODELS[what]._default_manager.filter(
        project=project, deleted_at__lte=models.functions.Now()
    )
    return rows


def empty_analysis(run: Run, pk: int) -> None:
    """Everything that belongs to an analysis, in pieces; the row itself stays for last."""
    session = AnalysisSession.objects.filter(pk=pk).first()
    if session is None:
        return
    if session.status not in ENDED:
        raise AppError("plain", why="It is still being stopped. Try again in a minute.")
    _blank_answers(run, session)
    items = AnalysisItem.objects.filter(session=session)
    _in_pieces(run, items, _remove_items)
    _in_pieces(run, Cluster.objects.filter(session=session, parent__isnull=False))
    _in_pieces(run, Cluster.objects.filter(session=session))
    _in_pieces(run, session.batches.all())
    with transaction.atomic():
        run.hold()
        Topic.objects.filter(name=session.topic).delete()
    shutil.rmtree(artifacts.root() / str(session.uid), ignore_errors=True)


def empty_dataset(run: Run, pk: int) -> None:
    """All analyses of a data set, then its conversations and files."""
    dataset = Dataset.objects.filter(pk=pk).first()
    if dataset is None:
        return
    for session_pk in list(dataset.analyses.values_list("pk", flat=True)):
        empty_analysis(run, session_pk)
        with transaction.atomic():
            run.hold()
            AnalysisSession.objects.filter(pk=session_pk).delete()
    _in_pieces(run, Conversation.objects.filter(dataset=dataset))
    for record in dataset.imports.all():
        _stored(record).unlink(missing_ok=True)
    with transaction.atomic():
        run.hold()
        Topic.objects.filter(name=f"dataset:{pk}").delete()


EMPTY: dict[str, Callable[[Run, int], None]] = {
    "analyses": empty_analysis,
    "datasets": empty_dataset,
}
MODELS: dict[str, type[models.Model]] = {
    "analyses": AnalysisSession,
    "datasets": Dataset,
    "conversations": Conversation,
}


def scrub(rows: QuerySet[Conversation]) -> None:
    """Remove all that conversations said, also from analyses; their places stay.

    Analyses number conversations by position and count them: an empty place keeps both right.
    The uploaded file holds their text, so it goes as well. Inside a transaction.
    """
    pks = list(rows.values_list("pk", flat=True))
    items = AnalysisItem.objects.filter(conversation_id__in=pks)
    FacetValue.objects.filter(item__in=items).delete()
    items.update(title="", summary="", text="", spans=[], error="")
    files = Import.objects.filter(conversations__in=pks).distinct()
    paths = [_stored(record) for record in files]
    rows.update(
        messages=[],
        metadata={},
        end_user="",
        content_hash="",
        external_id=Concat(Value("deleted-"), Cast(F("position"), CharField())),
    )
    transaction.on_commit(lambda: _unlink(paths))


def _unlink(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _stored(record: Import) -> Path:
    return Path(settings.MEDIA_ROOT) / record.file


def _blank_answers(run: Run, session: AnalysisSession) -> None:
    """Answers leave the journal unless another analysis of the data may stand on them.

    Calls keep what they cost. Their fingerprints go too: nothing may find an empty answer.
    """
    others = AnalysisSession.objects.filter(dataset=session.dataset_id).exclude(pk=session.pk)
    if others.exclude(pk__in=being_purged("analyses")).filter(deleted_at=None).exists():
        return
    calls = LlmCall.objects.filter(analysis_id=session.pk).exclude(fingerprint__startswith=GONE)
    _in_pieces(
        run,
        calls,
        lambda pks: LlmCall.objects.filter(pk__in=pks).update(
            response="", fingerprint=Concat(Value(GONE), Cast(F("pk"), CharField()))
        ),
    )


GONE = "purged-"


def _in_pieces(
    run: Run, rows: QuerySet[Any, Any], remove: Callable[[list[int]], object] | None = None
) -> None:
    """Remove rows in transactions of at most :data:`ROWS`; by default as they are."""
    while pks := list(rows.order_by("pk").values_list("pk", flat=True)[:ROWS]):
        with transaction.atomic():
            run.hold()
            if remove is not None:
                remove(pks)
            else:
                rows.model._default_manager.filter(pk__in=pks).delete()


def _remove_items(pks: list[int]) -> None:
    FacetValue.objects.filter(item_id__in=pks).delete()
    ClusterMembership.objects.filter(item_id__in=pks).delete()
    AnalysisItem.objects.filter(pk__in=pks).delete()
