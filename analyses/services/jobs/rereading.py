"""Reading some conversations of an analysis again, in a new analysis that keeps the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, ClassVar

from django.db import transaction
from django.db.models import Count, Q, QuerySet, Sum
from django.utils import timezone
from typing_extensions import override

from analyses import plan
from analyses.models import (
    ENDED,
    AnalysisItem,
    AnalysisSession,
    Batch,
    FacetValue,
    Outcome,
    StageProgress,
)
from analyses.selectors import chosen
from analyses.services.advance import locked
from analyses.services.jobs.copying import HIDDEN, copy_rows, hidden_copy, lay_out, let_go
from analyses.services.jobs.deleting import session_of
from core.errors import Conflict, Invalid
from core.figures import count_of, money
from projects.models import ItemState, Job, JobItem, Project
from projects.services.kinds import Field, Kind, Run, Settings, Wanted, settings_for
from providers.models import LlmCall, ModelDeployment


class RereadSettings(Settings):
    """``analysis`` is its number; ``chat`` the key of another model, left out for the same."""

    analysis: int
    chat: int | None = None


class Reread(Kind):
    """Some conversations are asked about again; every other answer is taken over."""

    key = "reread"
    settings: ClassVar[type[Settings]] = RereadSettings
    size = 1000

    @override
    def select(self, wanted: Wanted) -> QuerySet[Any, Any]:
        """By position, or by the filter of Explore. Deleted ones are left out."""
        session = session_of(wanted, wanted.settings.analysis)
        rows = chosen.items(session, wanted.ids, wanted.filter)
        kept = rows.filter(conversation__deleted_at=None)
        return kept.values_list("pk", "conversation__external_id")

    @override
    def title(self, wanted: Wanted, count: int) -> str:
        """Words for the list of jobs."""
        return f"Read {count_of(count, 'conversation')} again"

    @override
    def says(self, wanted: Wanted, count: int) -> list[str]:
        """What it makes and what it may cost."""
        session = session_of(wanted, wanted.settings.analysis)
        said = ["It becomes a new analysis; the answers of all other conversations are taken over."]
        each = cost_of_one(session)
        if each:
            said.append(f"Expected cost: about {money(each * count)}, then naming as before.")
        said.append("The same model gives the same answer without being paid again.")
        return said

    @override
    def fields(self, wanted: Wanted) -> list[Field]:
        """Another model."""
        choices = [(str(row.pk), str(row)) for row in models_of(wanted.project)]
        return [Field("s.chat", "Read by", "select", choices=(("", "The same model"), *choices))]

    @override
    def begin(self, job: Job) -> None:
        """Refuse what cannot be read again before anything is copied."""
        source = self._source(job)
        if source.status not in ENDED:
            raise Conflict(why="The analysis is at work. Wait for its end, or stop it.")
        if not source.stages.filter(key="prepare", finished_at__isnull=False).exists():
            raise Conflict(why="The analysis did not prepare all conversations.")
        self._chat(job, source)

    def _source(self, job: Job) -> AnalysisSession:
        return session_of(Wanted(job.project, None), settings_for(self, job).analysis)

    def _chat(self, job: Job, source: AnalysisSession) -> ModelDeployment | None:
        wanted = settings_for(self, job).chat
        if wanted is None:
            return source.chat
        found = models_of(job.project).filter(pk=wanted).first()
        if found is None:
            raise Invalid(fields={"chat": "There is no such model."})
        return found

    @override
    def chunk(self, run: Run, items: Sequence[JobItem]) -> None:
        """Take over everything once, then put these back to waiting."""
        source = self._source(run.job)
        made = self._made(run, source)
        copy_rows(run, source, made)
        refs = [item.ref for item in items]
        chosen_rows = AnalysisItem.objects.filter(pk__in=refs, session=source)
        positions = list(chosen_rows.values_list("position", flat=True))
        again = AnalysisItem.objects.filter(session=made, position__in=positions)
        with transaction.atomic():
            run.hold()
            FacetValue.objects.filter(item__in=again).delete()
            blank = dict.fromkeys(("title", "summary", "text", "error", "error_class", "model"), "")
            again.update(outcome=Outcome.WAITING, **blank)
            run.settle(items, ItemState.DONE)

    def _made(self, run: Run, source: AnalysisSession) -> AnalysisSession:
        found = run.job.result.get("made", {}).get("all")
        if found is not None:
            return AnalysisSession.objects.get(pk=found)
        with transaction.atomic():
            run.hold()
            chat = self._chat(run.job, source)
            fallback = source.fallback if chat == source.chat else None
            made = hidden_copy(run.job, source, "read", chat=chat, fallback=fallback)
            run.note(made={"all": made.pk})
        return made

    @override
    def finish(self, run: Run) -> None:
        """Lay out the batches of what waits and begin; once, however often it is called."""
        with transaction.atomic():
            run.hold()
            made = locked(run.job.result["made"]["all"])
            if made.deleted_at == HIDDEN:
                _lay_out(made)
                let_go(run, made)


def _lay_out(session: AnalysisSession) -> None:
    counted = session.items.aggregate(
        read=Count("pk", filter=Q(outcome=Outcome.READ)),
        failed=Count("pk", filter=Q(outcome=Outcome.FAILED)),
    )
    session.read_count, session.failed_count = counted["read"], counted["failed"]
    session.errors_allowed = session.failed_count
    session.save(update_fields=["read_count", "failed_count", "errors_allowed"])
    waiting = session.items.filter(outcome=Outcome.WAITING).order_by("position")
    positions = list(waiting.values_list("position", flat=True))
    ranges = list(_ranges(positions, plan.batch_size(session.total)))
    Batch.objects.bulk_create(
        Batch(session=session, stage="facets", seq=seq, first=first, last=last)
        for seq, (first, last) in enumerate(ranges)
    )
    lay_out(session, ["prepare"])
    StageProgress.objects.filter(session=session, key="facets").update(
        opened=True,
        batches_total=len(ranges),
        items_done=session.total - len(positions),
        started_at=timezone.now(),
    )


def _ranges(positions: Sequence[int], size: int) -> Iterator[tuple[int, int]]:
    """Ranges of ``size`` positions each; what was read lies between them and stays as it is."""
    for start in range(0, len(positions), size):
        some = positions[start : start + size]
        yield some[0], some[-1] + 1


def models_of(project: Project) -> QuerySet[ModelDeployment]:
    """Models that the workspace may read with now."""
    return ModelDeployment.objects.filter(
        provider__workspace=project.workspace_id,
        provider__enabled=True,
        embeds=False,
        retired=False,
    ).select_related("provider")


def cost_of_one(session: AnalysisSession) -> Decimal:
    """US dollars that reading one conversation cost in the mean."""
    calls = LlmCall.objects.filter(analysis_id=session.pk, purpose="facets")
    spent: Decimal = calls.aggregate(spent=Sum("cost"))["spent"] or Decimal(0)
    return spent / session.read_count if session.read_count else Decimal(0)
