"""JSON door of analyses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from django.http import StreamingHttpResponse
from ninja import Query, Router, Status

from accounts.models import Role
from accounts.schemas import ApiRequest
from accounts.services import require
from analyses import export, services
from analyses.models import AnalysisSession
from analyses.schemas import (
    CompareIn,
    ComparisonOut,
    EstimateIn,
    EstimateOut,
    EventPage,
    ItemPage,
    LimitIn,
    ProvidersIn,
    Results,
    SessionDetail,
    SessionIn,
    SessionPage,
    Wish,
)
from analyses.selectors.comparisons import comparisons_of
from analyses.selectors.news import insights_of
from analyses.selectors.providers import models_of
from analyses.selectors.sessions import project_for, session_for
from analyses.selectors.starting import choice_of, estimate_of
from analyses.selectors.tree import tree_of
from analyses.services.comparing import compare_with
from analyses.services.ordering import order_of
from analyses.services.unblocking import choose_models, limit_spending
from core.errors import Invalid, NotFound
from core.events import since
from core.paging import page

router = Router(tags=["Analyses"])

BASE = "/projects/{slug:slug}/sessions"
ONE = BASE + "/{int:number}"
WISHES: dict[str, Callable[..., AnalysisSession]] = {
    "pause": services.pause,
    "resume": services.resume,
    "cancel": services.cancel,
    "retry": services.retry_failed,
}


@router.get(BASE, response=SessionPage)
def list_sessions(
    request: ApiRequest, slug: str, cursor: str | None = None, limit: int = 50
) -> Any:
    """The analyses of a project."""
    project = project_for(request.auth, slug)
    return page(
        AnalysisSession.objects.for_user(request.auth).filter(project=project), cursor, limit
    )


@router.post(BASE, response={202: SessionDetail})
def start(request: ApiRequest, slug: str, body: SessionIn) -> Any:
    """Start an analysis; follow it at its address or by its events. Analysts and owners."""
    project = project_for(request.auth, slug)
    require(request.auth, project.workspace, Role.ANALYST)
    chosen = choice_of(project, body.dataset, body.template, body.provider, body.fallback)
    spread = chosen["dataset"].conversation_count if body.sample == "spread" else None
    started = services.start_session(
        actor=request.auth,
        project=project,
        **chosen,
        by_route=body.by_route,
        local_last=body.local_last,
        name=body.name,
        limit=body.limit,
        concurrency=body.concurrency,
        spend_limit=body.spend_limit,
        params={"spread_over": spread, "bulk": body.bulk},
    )
    return Status(202, started)


@router.get("/projects/{slug:slug}/estimate", response=EstimateOut)
def estimate(request: ApiRequest, slug: str, asked: Annotated[EstimateIn, Query()]) -> Any:
    """What an analysis would cost and how long it would take. Analysts and owners."""
    project = project_for(request.auth, slug)
    require(request.auth, project.workspace, Role.ANALYST)
    chosen = choice_of(project, asked.dataset, asked.template, asked.provider)
    if asked.by_route:
        order = order_of(project.workspace)
        chosen |= {"chat": order.chat, "embedding": order.embedding}
    found = estimate_of(
        chosen, limit=asked.limit, sampled=asked.sample == "spread", batched=asked.bulk
    )
    return found.to_json()


@router.get(ONE, response=SessionDetail)
def state(request: ApiRequest, slug: str, number: int) -> Any:
    """How an analysis stands."""
    return session_for(request.auth, slug, number)


@router.post(ONE + "/wishes", response={202: SessionDetail})
def wish(request: ApiRequest, slug: str, number: int, body: Wish) -> Any:
    """Pause, resume, cancel, or retry what failed. Analysts and owners.

    A retry may name conversations; the others stay failed.
    """
    session = session_for(request.auth, slug, number)
    only: dict[str, Any] = {}
    if body.positions is not None:
        if body.action != "retry":
            raise Invalid(fields={"positions": "Only a retry takes positions."})
        only = {"positions": body.positions}
    return Status(202, WISHES[body.action](actor=request.auth, session=session, **only))


@router.post(ONE + "/limit", response={202: SessionDetail})
def limit(request: ApiRequest, slug: str, number: int, body: LimitIn) -> Any:
    """Set or take away a spending limit; an analysis that waited for it goes on.

    Analysts and owners; limits of the project and the workspace owners alone.
    """
    session = session_for(request.auth, slug, number)
    given = body.model_dump()
    return Status(202, limit_spending(actor=request.auth, session=session, **given))


@router.post(ONE + "/providers", response={202: SessionDetail})
def providers(request: ApiRequest, slug: str, number: int, body: ProvidersIn) -> Any:
    """Have the rest read by another provider; a blocked analysis goes on. Analysts and owners."""
    session = session_for(request.auth, slug, number)
    require(request.auth, session.project.workspace, Role.ANALYST)
    chat = None if body.chat == "local" else body.chat
    chosen = models_of(session.project, chat, body.fallback)
    return Status(202, choose_models(actor=request.auth, session=session, **chosen))


@router.get(ONE + "/comparisons", response=list[ComparisonOut])
def comparisons(request: ApiRequest, slug: str, number: int) -> Any:
    """How far other models agreed with the one that read, newest first."""
    return comparisons_of(session_for(request.auth, slug, number))


@router.post(ONE + "/comparisons", response={202: ComparisonOut})
def compare(request: ApiRequest, slug: str, number: int, body: CompareIn) -> Any:
    """Ask another model about conversations that were read; no result changes.

    The dry run of a job of the kind `compare` says what it may cost. Analysts and owners.
    """
    session = session_for(request.auth, slug, number)
    require(request.auth, session.project.workspace, Role.ANALYST)
    chat = models_of(session.project, body.chat)["chat"]
    job = compare_with(actor=request.auth, session=session, chat=chat, count=body.count)
    return Status(202, next(one for one in comparisons_of(session) if one.job == job))


@router.get(ONE + "/results", response=Results)
def results(request: ApiRequest, slug: str, number: int) -> Any:
    """Clusters, insights and the report card; provisional while reading goes on."""
    session = session_for(request.auth, slug, number)
    return {
        "status": session.status,
        "clusters": export.clusters_json(session),
        "withheld": tree_of(session).hidden_groups,
        "insights": insights_of(session),
        "report": export.report_json(session),
    }


@router.get(ONE + "/conversations", response=ItemPage)
def conversations(
    request: ApiRequest, slug: str, number: int, cursor: str | None = None, limit: int = 50
) -> Any:
    """Conversations with their answers. Raw text is not among them."""
    session = session_for(request.auth, slug, number)
    rows = session.items.select_related("conversation").prefetch_related("values__facet")
    rows = rows.defer("conversation__messages", "conversation__metadata")
    return page(rows, cursor, limit, newest_first=False, by="position")


@router.get(ONE + "/events", response=EventPage)
def events(
    request: ApiRequest, slug: str, number: int, after: Annotated[int, Query(ge=0, le=10**18)] = 0
) -> Any:
    """What happened after an event number; nothing is skipped."""
    session = session_for(request.auth, slug, number)
    items = list(since(session.topic, after))
    return {"items": items, "last": items[-1]["seq"] if items else after}


@router.get(ONE + "/conversations.csv")
def conversations_csv(request: ApiRequest, slug: str, number: int) -> StreamingHttpResponse:
    """All conversations with theme, cluster, answers and place, as CSV."""
    session = session_for(request.auth, slug, number)
    if not session.items.exists():
        raise NotFound
    return StreamingHttpResponse(
        export.conversations_csv(session), content_type="text/csv; charset=utf-8"
    )
