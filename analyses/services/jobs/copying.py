"""Grouping anew: another analysis over the answers of one, without reading anything again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import numpy as np
from django.db import connection, models, transaction
from django.db.models import Max, QuerySet, Sum
from django.urls import reverse
from django.utils import timezone
from pydantic import Field as Bounded
from typing_extensions import override

from analyses import artifacts, plan
from analyses.models import (
    AnalysisItem,
    AnalysisSession,
    ArtifactKind,
    FacetValue,
    SessionStatus,
    StageProgress,
)
from analyses.selectors import chosen
from analyses.services.advance import advance, locked, set_status
from analyses.services.deployments import check_deployments
from analyses.services.jobs.listed import Listed
from analyses.services.pumps import wake_pumps
from core.errors import AppError, Invalid
from core.figures import count_of, money
from projects.models import ItemState, Job, JobItem, Project
from projects.selectors.jobs import OPEN
from projects.services.kinds import (
    Field,
    Run,
    Settings,
    Wanted,
    actor_of,
    do_one,
    settings_for,
)
from providers.models import LlmCall, ModelDeployment

COPIED = 2000
"""Conversations copied in one transaction."""

HIDDEN = datetime(9999, 1, 1, tzinfo=UTC)
"""Stands for the moment of deletion while a copy is not complete: no list has such analyses."""

COPYING = "copying"
COPIERS = ("recluster", "reembed", "reread")


class ReclusterSettings(Settings):
    """``clusters`` and ``floor`` as for a new analysis; left out, they stay as they were."""

    clusters: int | None = Bounded(default=None, ge=1, le=10_000)
    floor: int | None = Bounded(default=None, ge=0, le=1_000_000)


class ReembedSettings(ReclusterSettings):
    """``embedding`` is the key of a model for vectors; left out, it stays as it was."""

    embedding: int | None = None


class Recluster(Listed):
    """Analyses are clustered again from their vectors, as new analyses beside them."""

    key = "recluster"
    settings: ClassVar[type[Settings]] = ReclusterSettings
    chosen = staticmethod(chosen.sessions)
    size = 1
    word, past = "Cluster", "clustered"
    done: ClassVar[tuple[str, ...]] = ("prepare", "facets", "embed")
    """Stages whose results are taken over."""

    @override
    def title(self, wanted: Wanted, count: int) -> str:
        """Words for the list of jobs."""
        return f"{self.word} {count_of(count, 'analysis', 'analyses')} again"

    @override
    def says(self, wanted: Wanted, count: int) -> list[str]:
        """That nothing is read again, and what the rest cost before."""
        spent = naming_cost(self.rows(wanted))
        cost = "cost nothing" if not spent else f"cost {money(spent)} the last time"
        return [
            "Each becomes a new analysis beside the one it is based on, which stays as it is.",
            f"No conversation is read again. Naming, arranging and the privacy check {cost}.",
        ]

    @override
    def fields(self, wanted: Wanted) -> list[Field]:
        """Size and floor."""
        return [
            Field("s.clusters", "Base clusters", "number", hint="Left empty, as before."),
            Field(
                "s.floor",
                "Smallest cluster shown",
                "number",
                hint="In conversations. Left empty, as before.",
            ),
        ]

    @override
    def chunk(self, run: Run, items: Sequence[JobItem]) -> None:
        """Copy one analysis in pieces, then let it go."""
        for item in items:
            try:
                self._copy(run, item)
            except AppError as error:
                with transaction.atomic():
                    run.settle([item], ItemState.FAILED, error.text)
            else:
                do_one(self, run, item)

    def _copy(self, run: Run, item: JobItem) -> None:
        source = AnalysisSession.objects.select_related("project").get(pk=item.ref)
        self.check(source)
        with transaction.atomic():
            run.hold()
            made = run.job.result.get("made", {}).get(str(item.pk))
            if made is None:
                made = self._new(run.job, source).pk
                run.note(made={**run.job.result.get("made", {}), str(item.pk): made})
        copy_rows(run, source, AnalysisSession.objects.get(pk=made))

    def check(self, source: AnalysisSession) -> None:
        """Refuse what has nothing to group. Raises ``AppError``."""
        read = source.stages.filter(key="facets", finished_at__isnull=False)
        if not read.exists() or not source.read_count:
            raise AppError("plain", why="It has not read its conversations to the end.")
        if "embed" in self.done and artifacts.load(source, ArtifactKind.VECTORS) is None:
            raise AppError("plain", why="It has no vectors. Embed it again instead.")

    def _new(self, job: Job, source: AnalysisSession) -> AnalysisSession:
        given = settings_for(self, job)
        asked = {"clusters": given.clusters, "floor_conversations": given.floor}
        params = {**source.params, **{k: v for k, v in asked.items() if v is not None}}
        return hidden_copy(
            job,
            source,
            self.past,
            params=plan.RunParams.model_validate(params).model_dump(),
            embedding=self.embedding(job, source),
        )

    def embedding(self, job: Job, source: AnalysisSession) -> ModelDeployment | None:
        """Where vectors come from."""
        return source.embedding

    @override
    def item(self, run: Run, item: JobItem) -> str:
        """All rows are there: lay out the stages that are left and begin."""
        made = locked(run.job.result["made"][str(item.pk)])
        source = AnalysisSession.objects.get(pk=item.ref)
        if "embed" in self.done:
            vectors = np.asarray(artifacts.load(source, ArtifactKind.VECTORS))
            path = artifacts.write_array(made, ArtifactKind.VECTORS, 0, vectors)
            artifacts.point(made, ArtifactKind.VECTORS, path, len(vectors))
        lay_out(made, self.done)
        let_go(run, made)
        return ItemState.DONE

    @override
    def sweep(self) -> None:
        """What stopped half-way goes to the trash at its end, to be emptied next."""
        left = AnalysisSession.objects.filter(deleted_at=HIDDEN, reason=COPYING)
        if not left.exists():
            return
        busy = Job.objects.filter(kind__in=COPIERS, status__in=OPEN)
        kept = {pk for job in busy for pk in job.result.get("made", {}).values()}
        left.exclude(pk__in=kept).update(deleted_at=timezone.now() - timedelta(days=31))


class Reembed(Recluster):
    """Analyses are embedded and clustered again, perhaps by another model."""

    key = "reembed"
    settings: ClassVar[type[Settings]] = ReembedSettings
    word, past = "Embed", "embedded"
    done: ClassVar[tuple[str, ...]] = ("prepare", "facets")

    @override
    def fields(self, wanted: Wanted) -> list[Field]:
        """Models of the workspace, then size and floor."""
        rows = deployments(wanted.project)
        choices = (("", "As before"), *((str(row.pk), str(row)) for row in rows))
        model = Field("s.embedding", "Model for vectors", "select", choices=choices)
        return [model, *super().fields(wanted)]

    @override
    def embedding(self, job: Job, source: AnalysisSession) -> ModelDeployment | None:
        """The model asked for, else the one before."""
        wanted = settings_for(self, job).embedding
        if wanted is None:
            return source.embedding
        found = deployments(source.project).filter(pk=wanted).first()
        if found is None:
            raise Invalid(fields={"embedding": "There is no such model for vectors."})
        return found


def hidden_copy(job: Job, source: AnalysisSession, past: str, **changes: Any) -> AnalysisSession:
    """A new analysis with the settings of ``source``: hidden and still, until its rows are there.

    Inside a transaction. ``past`` says in its name what was done again.
    """
    project = Project.objects.select_for_update().get(pk=source.project_id)
    highest = project.analyses.aggregate(top=Max("number"))["top"] or 0
    fields = ("dataset", "template_version", "chat", "embedding", "fallback", "params", "seed")
    counts = ("total", "read_count", "failed_count")
    values = {name: getattr(source, name) for name in (*fields, *counts)}
    other = {name: changes.get(name, ...) not in (..., values[name]) for name in fields[2:4]}
    values["params"] = plan.without_routes(
        source.params, chat=other["chat"], vectors=other["embedding"]
    )
    return AnalysisSession.objects.create(
        **{**values, **changes},
        project=project,
        based_on=source,
        number=highest + 1,
        name=f"{source.name[:135]}, {past} again",
        pipeline_version=plan.PIPELINE_VERSION,
        errors_allowed=source.failed_count,
        status=SessionStatus.FAILED,
        reason=COPYING,
        created_by=job.created_by,
        deleted_at=HIDDEN,
    )


def lay_out(session: AnalysisSession, done: Sequence[str]) -> None:
    """The progress rows of an analysis whose stages ``done`` were taken over."""
    now = timezone.now()
    StageProgress.objects.bulk_create(
        StageProgress(
            session=session,
            key=step.key,
            order=order,
            opened=step.key in done,
            items_total=session.total if step.ranged else 100,
            items_done=(session.total if step.ranged else 100) * (step.key in done),
            started_at=now if step.key in done else None,
            finished_at=now if step.key in done else None,
        )
        for order, step in enumerate(plan.STAGES)
    )


def let_go(run: Run, session: AnalysisSession) -> None:
    """Show a complete copy and have it worked on, inside a transaction."""
    check_deployments(session.project, session.chat, session.embedding, session.fallback)
    actor_of(run.job)
    AnalysisSession.objects.filter(pk=session.pk).update(deleted_at=None)
    set_status(session, SessionStatus.QUEUED)
    advance(locked(session.pk))
    wake_pumps()
    href = reverse("analyses:live", args=[session.project.slug, session.number])
    links = run.job.result.get("links", [])
    run.note(links=[*links, {"name": session.name, "href": href}])


def deployments(project: Project) -> QuerySet[ModelDeployment]:
    """Models for vectors that the workspace may use now."""
    return ModelDeployment.objects.filter(
        provider__workspace=project.workspace_id,
        provider__enabled=True,
        embeds=True,
        retired=False,
    ).select_related("provider")


def naming_cost(sessions: QuerySet[AnalysisSession]) -> Decimal:
    """US dollars that everything after reading cost."""
    calls = LlmCall.objects.filter(analysis_id__in=sessions.values("pk")).exclude(purpose="facets")
    spent: Decimal | None = calls.aggregate(spent=Sum("cost"))["spent"]
    return spent or Decimal(0)


def copy_rows(run: Run, source: AnalysisSession, made: AnalysisSession) -> None:
    """Copy conversations and answers inside the database, going on where a copy ended."""
    top = source.items.aggregate(top=Max("position"))["top"]
    done = made.items.aggregate(top=Max("position"))["top"]
    first = 0 if done is None else done + 1
    while top is not None and first <= top:
        with transaction.atomic():
            run.hold()
            _copy_range(source.pk, made.pk, first, first + COPIED)
        first += COPIED


def _copy_range(source: int, made: int, first: int, last: int) -> None:
    items, values = _table(AnalysisItem), _table(FacetValue)
    kept = _columns(AnalysisItem, "session_id")
    told = _columns(FacetValue, "item_id")
    of_value = ", ".join(f"v.{name}" for name in told)
    # Names of tables and columns come from the models, values go as parameters.
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {items} (session_id, {', '.join(kept)}) "  # noqa: S608
            f"SELECT %s, {', '.join(kept)} FROM {items} "
            "WHERE session_id = %s AND position >= %s AND position < %s ORDER BY position",
            [made, source, first, last],
        )
        cursor.execute(
            f"INSERT INTO {values} (item_id, {', '.join(told)}) "  # noqa: S608
            f"SELECT n.id, {of_value} FROM {items} o JOIN {values} v ON v.item_id = o.id "
            f"JOIN {items} n ON n.session_id = %s AND n.position = o.position "
            "WHERE o.session_id = %s AND o.position >= %s AND o.position < %s",
            [made, source, first, last],
        )


def _table(model: type[models.Model]) -> str:
    return connection.ops.quote_name(model._meta.db_table)


def _columns(model: type[models.Model], parent: str) -> list[str]:
    """The columns of a table besides its key and its parent's."""
    names = [field.column for field in model._meta.concrete_fields]
    quote = connection.ops.quote_name
    return [quote(name) for name in names if name and name not in ("id", parent)]
