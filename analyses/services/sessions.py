"""Starting, pausing, resuming and stopping analyses, and the supervisor's tick."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Max
from pydantic import ValidationError

from accounts.models import Role, User
from accounts.services import audit, require
from analyses import plan
from analyses.models import ENDED, AnalysisSession, Batch, Desired, SessionStatus, StageProgress
from analyses.services.advance import advance, locked, set_status
from analyses.services.pumps import wake_pumps
from core.errors import Conflict, Invalid
from core.ids import uuid7
from core.models import WorkStatus
from core.text import clean
from projects.models import Dataset, DatasetStatus, Project
from providers.models import ModelDeployment
from templates_app.models import TemplateVersion


def start_session(
    *,
    actor: User,
    project: Project,
    dataset: Dataset,
    template_version: TemplateVersion,
    chat: ModelDeployment | None = None,
    embedding: ModelDeployment | None = None,
    name: str = "",
    limit: int | None = None,
    concurrency: int | None = None,
    params: dict[str, Any] | None = None,
    wake: bool = True,
    uid: UUID | None = None,
) -> AnalysisSession:
    """Freeze everything that decides the result onto a new analysis and open its first stage.

    Without ``chat`` the local engine reads; without ``embedding`` vectors are made here.
    ``wake=False`` leaves the work to the caller's own worker. A ``uid`` that a form was made with
    starts one analysis, however often the form is sent. Raises ``Forbidden`` below the role
    Analyst, ``Conflict`` for a data set that is not ready, ``Invalid`` for bad settings.
    """
    require(actor, project.workspace, Role.ANALYST)
    _check(project, dataset, template_version, chat, embedding)
    frozen = _freeze(params or {}, limit, concurrency, chat)
    total = min(frozen.limit or dataset.conversation_count, dataset.conversation_count)
    fixed: dict[str, Any] = {
        "project": project,
        "dataset": dataset,
        "template_version": template_version,
        "chat": chat,
        "embedding": embedding,
        "params": frozen.model_dump(),
        "created_by": actor,
    }
    with transaction.atomic():
        Project.objects.select_for_update().get(pk=project.pk)
        before = AnalysisSession.objects.filter(uid=uid).first() if uid else None
        if before is not None and _is(before, fixed):
            return before
        highest = project.analyses.aggregate(top=Max("number"))["top"] or 0
        session = AnalysisSession.objects.create(
            **fixed,
            uid=uuid7() if before or not uid else uid,
            number=highest + 1,
            name=clean(name).strip()[:160] or f"{dataset.name}, analysis {highest + 1}",
            pipeline_version=plan.PIPELINE_VERSION,
            total=total,
        )
        _lay_out(session)
        audit(
            workspace=project.workspace,
            actor=actor,
            action="analysis.started",
            obj=session,
            conversations=total,
        )
        advance(locked(session.pk))
        if wake:
            wake_pumps()
    session.refresh_from_db()
    return session


def _is(session: AnalysisSession, fixed: dict[str, Any]) -> bool:
    """Whether an analysis was started with exactly these settings by the same person."""
    return all(getattr(session, name) == value for name, value in fixed.items())


def _check(
    project: Project,
    dataset: Dataset,
    version: TemplateVersion,
    chat: ModelDeployment | None,
    embedding: ModelDeployment | None,
) -> None:
    """Everything must belong together, and the data must be ready."""
    if dataset.project_id != project.pk:
        raise Invalid(fields={"dataset": "This data set belongs to another project."})
    if version.template.workspace_id not in (None, project.workspace_id):
        raise Invalid(fields={"template": "This template belongs to another workspace."})
    for deployment, field in ((chat, "provider"), (embedding, "embedding")):
        if deployment is not None:
            _check_deployment(project, deployment, field)
    if dataset.status == DatasetStatus.FAILED:
        raise Conflict(why="The data set could not be read. Upload the file again.")
    if dataset.status != DatasetStatus.READY:
        raise Conflict(why="The data set is still being read. Wait until it is ready.")


def _check_deployment(project: Project, deployment: ModelDeployment, field: str) -> None:
    if deployment.provider.workspace_id != project.workspace_id:
        raise Invalid(fields={field: "This provider belongs to another workspace."})
    if deployment.retired or not deployment.provider.enabled:
        raise Invalid(fields={field: "This provider is switched off."})
    if deployment.embeds != (field == "embedding"):
        raise Invalid(fields={field: "This model is of the other kind."})


def _freeze(
    params: dict[str, Any],
    limit: int | None,
    concurrency: int | None,
    chat: ModelDeployment | None,
) -> plan.RunParams:
    given = {key: value for key, value in params.items() if value is not None}
    asked = {"limit": limit, "concurrency": concurrency}
    given |= {key: value for key, value in asked.items() if value is not None}
    given.setdefault("concurrency", chat.provider.concurrency if chat else 4)
    unknown = given.keys() - plan.RunParams.model_fields.keys()
    if unknown:
        raise Invalid(fields=dict.fromkeys(sorted(unknown), "There is no such setting."))
    try:
        return plan.RunParams.model_validate(given)
    except ValidationError as error:
        fields = {str(item["loc"][0]): item["msg"] for item in error.errors()}
        raise Invalid(fields=fields) from error


def _lay_out(session: AnalysisSession) -> None:
    """The progress rows of all stages and the batches of the first."""
    size = plan.batch_size(session.total)
    ranges = [
        (first, min(first + size, session.total)) for first in range(0, session.total, size)
    ] or [(0, 0)]
    StageProgress.objects.bulk_create(
        StageProgress(
            session=session,
            key=step.key,
            order=order,
            opened=step.ranged,
            batches_total=len(ranges) if step.ranged else 0,
            items_total=session.total if step.ranged else 100,
        )
        for order, step in enumerate(plan.STAGES)
    )
    Batch.objects.bulk_create(
        (
            Batch(session=session, stage="prepare", seq=seq, first=first, last=last)
            for seq, (first, last) in enumerate(ranges)
        ),
        batch_size=500,
    )


def pause(*, actor: User, session: AnalysisSession) -> AnalysisSession:
    """Ask for a pause: calls in flight end and are kept, no new one begins."""
    return _wish(actor, session, Desired.PAUSE, "analysis.paused")


def resume(*, actor: User, session: AnalysisSession) -> AnalysisSession:
    """Go on from the last saved batch; also lifts a block whose cause was removed."""
    return _wish(actor, session, Desired.RUN, "analysis.resumed")


def cancel(*, actor: User, session: AnalysisSession) -> AnalysisSession:
    """Stop for good. What is saved stays."""
    return _wish(actor, session, Desired.CANCEL, "analysis.stopped")


def _wish(actor: User, session: AnalysisSession, desired: str, action: str) -> AnalysisSession:
    require(actor, session.project.workspace, Role.ANALYST)
    with transaction.atomic():
        row = locked(session.pk)
        _check_wish(row, desired)
        row.desired = desired
        row.save(update_fields=["desired"])
        if desired == Desired.RUN and row.status in (
            SessionStatus.BLOCKED,
            SessionStatus.FAILED,
            SessionStatus.PAUSED,
        ):
            _reopen(row)
            set_status(row, SessionStatus.QUEUED)
        advance(row)
        audit(workspace=row.project.workspace, actor=actor, action=action, obj=row)
        if desired == Desired.RUN:
            wake_pumps()
    return row


def _check_wish(session: AnalysisSession, desired: str) -> None:
    """Ended analyses take no wish, but a failed one may be tried again; a stop is for good."""
    revive = desired == Desired.RUN and session.status == SessionStatus.FAILED
    if session.status in ENDED and not revive:
        raise Conflict(why=f"The analysis is already {session.get_status_display().lower()}.")
    if session.desired == Desired.CANCEL and desired != Desired.CANCEL and not revive:
        raise Conflict(why="The analysis is being stopped.")


def _reopen(session: AnalysisSession) -> None:
    """Give stages that were set aside three new tries."""
    whole = [step.key for step in plan.STAGES if not step.ranged]
    session.batches.filter(status=WorkStatus.QUARANTINED, stage__in=whole).update(
        status=WorkStatus.PENDING, attempt=0, not_before=None, error=""
    )


def tick() -> int:
    """Called by every supervisor every few seconds: take back dead leases, move analyses on,
    wake workers. Returns how many analyses are live."""
    live = list(AnalysisSession.objects.exclude(status__in=ENDED).values_list("pk", flat=True))
    for pk in live:
        with transaction.atomic():
            advance(locked(pk))
    if claimable().exists():
        wake_pumps()
    return len(live)


def claimable() -> Any:
    """Batches a worker may claim now, apart from their waiting time."""
    return Batch.objects.filter(
        status=WorkStatus.PENDING,
        session__desired=Desired.RUN,
        session__status__in=(SessionStatus.QUEUED, SessionStatus.RUNNING),
    )
