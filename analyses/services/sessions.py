"""Starting, pausing, resuming and stopping analyses, and the supervisor's tick."""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import Error, transaction
from django.db.models import Max, Q
from pydantic import ValidationError

from accounts.models import Role, User
from accounts.services import audit, require
from analyses import plan
from analyses.models import (
    ENDED,
    AnalysisSession,
    Batch,
    BlockReason,
    Desired,
    SessionStatus,
    StageProgress,
)
from analyses.selectors.asked import left_out
from analyses.services import estimating
from analyses.services.advance import advance, locked, set_status
from analyses.services.blocks import error_count
from analyses.services.bulk import take_up
from analyses.services.deployments import check_deployments
from analyses.services.ordering import Order, order_of
from analyses.services.pumps import wake_pumps
from analyses.services.retry import conflict, reopen_lost
from analyses.services.spending import follow_books
from core import work
from core.database import passes
from core.errors import Conflict, Invalid
from core.ids import uuid7
from core.models import WorkStatus
from core.text import clean
from projects.models import Dataset, DatasetStatus, Project
from providers.models import ModelDeployment, Period
from providers.services import doubt_lost_calls, set_limit
from providers.services.health import end_rests
from templates_app.models import TemplateVersion

log = logging.getLogger("openclio.work")

LIFTED = frozenset({SessionStatus.BLOCKED, SessionStatus.FAILED, SessionStatus.PAUSED})
"""States out of which a person resumes by way of waiting."""


def start_session(
    *,
    actor: User,
    project: Project,
    dataset: Dataset,
    template_version: TemplateVersion,
    chat: ModelDeployment | None = None,
    embedding: ModelDeployment | None = None,
    fallback: ModelDeployment | None = None,
    by_route: bool = False,
    local_last: bool = False,
    spend_limit: Decimal | None = None,
    name: str = "",
    limit: int | None = None,
    concurrency: int | None = None,
    params: dict[str, Any] | None = None,
    wake: bool = True,
    uid: UUID | None = None,
) -> AnalysisSession:
    """Freeze everything that decides the result onto a new analysis and open its first stage.

    Without ``chat`` the local engine reads; without ``embedding`` vectors are made here.
    ``fallback`` is asked when ``chat`` does not answer. With ``by_route`` the workspace's routes
    say who answers which purpose instead (see :func:`analyses.services.ordering.order_of`, also
    for ``local_last``). ``spend_limit`` is the most that the analysis may cost, in US dollars.
    ``wake=False`` leaves the work to the caller's own worker. A ``uid`` that a form was made with
    starts one analysis, however often the form is sent. Raises ``Forbidden`` below the role
    Analyst, ``Conflict`` for a data set that is not ready, ``Invalid`` for bad settings.
    """
    require(actor, project.workspace, Role.ANALYST)
    more: dict[str, Any] = {"left_out": left_out(dataset), "key": _key_of(actor)}
    if by_route:
        order = _ordered(project, (chat, embedding, fallback), local_last)
        chat, embedding, more["routes"] = order.chat, order.embedding, order.routes
    _check(project, dataset, template_version, chat, embedding, fallback)
    frozen = _freeze({**(params or {}), **more}, limit, concurrency, chat)
    if frozen.bulk and (chat is None or not chat.offers_batches):
        raise Invalid(fields={"bulk": "This model does not offer batches."})
    total = min(frozen.limit or dataset.conversation_count, dataset.conversation_count)
    fixed: dict[str, Any] = {
        "project": project,
        "dataset": dataset,
        "template_version": template_version,
        "chat": chat,
        "embedding": embedding,
        "fallback": fallback,
        "params": frozen.model_dump(mode="json"),
        "created_by": actor,
    }
    estimate = estimating.expected(dataset, template_version, chat, embedding, frozen)
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
            estimate=estimate,
        )
        _lay_out(session)
        if spend_limit is not None:
            set_limit(
                actor=actor,
                workspace=project.workspace,
                scope=f"analysis:{session.pk}",
                period=Period.ALL,
                amount=spend_limit,
            )
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


def _key_of(actor: User) -> int | None:
    """The API key that a person acts by, whose limits hold for what it starts."""
    return actor.acting_key.pk if actor.acting_key else None


def _ordered(
    project: Project, named: tuple[ModelDeployment | None, ...], local_last: bool
) -> Order:
    if any(named):
        raise Invalid(fields={"reader": "Name a model or choose the workspace's order, not both."})
    return order_of(project.workspace, local_last=local_last)


def _is(session: AnalysisSession, fixed: dict[str, Any]) -> bool:
    """Whether an analysis was started with exactly these settings by the same person."""
    return all(getattr(session, name) == value for name, value in fixed.items())


def _check(
    project: Project,
    dataset: Dataset,
    version: TemplateVersion,
    chat: ModelDeployment | None,
    embedding: ModelDeployment | None,
    fallback: ModelDeployment | None,
) -> None:
    """Everything must belong together, and the data must be ready."""
    if dataset.project_id != project.pk:
        raise Invalid(fields={"dataset": "This data set belongs to another project."})
    if version.template.workspace_id not in (None, project.workspace_id):
        raise Invalid(fields={"template": "This template belongs to another workspace."})
    check_deployments(project, chat, embedding, fallback)
    if dataset.status == DatasetStatus.FAILED:
        raise Conflict(why="The data set could not be read. Upload the file again.")
    if dataset.status != DatasetStatus.READY:
        raise Conflict(why="The data set is still being read. Wait until it is ready.")


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
        if desired == Desired.RUN and row.status in LIFTED:
            _lift(row)
        advance(row)
        audit(workspace=row.project.workspace, actor=actor, action=action, obj=row)
        if desired == Desired.RUN:
            wake_pumps()
    return row


def _check_wish(session: AnalysisSession, desired: str) -> None:
    """Ended analyses take no wish, but a failed one may be tried again; a stop is for good."""
    revive = desired == Desired.RUN and session.status == SessionStatus.FAILED
    if session.status in ENDED and not revive:
        word = session.get_status_display().lower()
        raise conflict(session, f"The analysis is already {word}.")
    if session.desired == Desired.CANCEL and desired != Desired.CANCEL and not revive:
        raise conflict(session, "The analysis is being stopped.")


def _lift(session: AnalysisSession) -> None:
    """A person wants it to go on: accept the failures so far, and try again what was given up."""
    errors = session.reason == BlockReason.ERRORS
    allowed = error_count(session) if errors else session.errors_allowed
    reopen_lost(session)
    end_rests(session.project.workspace)
    set_status(session, SessionStatus.QUEUED, retry_at=None, blocks=0, errors_allowed=allowed)


def tick() -> int:
    """Called by every supervisor every few seconds: take back dead leases, move analyses on,
    show what they cost, wake workers. Returns how many analyses are live.

    Calls of dead workers are put in doubt first, in transactions of their own: so the notice of
    what is taken back, the costs and the doubt agree from the first moment.
    """
    held = Batch.objects.filter(status=WorkStatus.LEASED).values("session")
    for owner in held.order_by().values_list("owner", flat=True).distinct():
        if work.owner_is_dead(owner):
            doubt_lost_calls(owner=owner)
    live = AnalysisSession.objects.exclude(status__in=ENDED)
    count = live.count()
    resting = Q(status=SessionStatus.PAUSED, desired=Desired.PAUSE)
    moving = AnalysisSession.objects.filter(
        Q(pk__in=live.exclude(resting).values("pk")) | Q(pk__in=held)
    )
    for pk in moving.order_by("pk").values_list("pk", flat=True):
        _advance(pk)
    take_up()
    follow_books()
    if work.claimable(claimable()).exists():
        wake_pumps()
    return count


def _advance(pk: int) -> None:
    """Move one analysis on; a fault in one must not hold up the others."""
    try:
        with transaction.atomic():
            advance(locked(pk))
    except AnalysisSession.DoesNotExist:
        return
    except Exception as error:
        if isinstance(error, Error) and passes(error):
            raise
        log.exception("Analysis %s could not be moved on.", pk)


def claimable() -> Any:
    """Batches a worker may claim now, apart from their waiting time.

    What was started with a version that this program does not know is left to one that does.
    """
    return Batch.objects.filter(
        status=WorkStatus.PENDING,
        session__pipeline_version__in=plan.KNOWN_VERSIONS,
        session__desired=Desired.RUN,
        session__status__in=(SessionStatus.QUEUED, SessionStatus.RUNNING),
    )
