"""Asking another model what one model answered before, to see how far they agree."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from django.db import transaction
from typing_extensions import override

from analyses.models import AnalysisSession
from analyses.pipeline.agreement import Pair, marks, summed
from analyses.pipeline.base import CallFailed, ChatAnswer, ChatPort, ChatRequest, Context
from analyses.pipeline.facets import FacetsParams, read_one
from analyses.pipeline.local import LocalEngine
from analyses.pipeline.records import FacetsRead, ItemFailed, Prepared
from analyses.pipeline.tokens import count_tokens
from analyses.runner.asking import Asked
from analyses.runner.ports import RemoteChat
from analyses.runner.ranges import prepared_of
from analyses.selectors.asked import facets_of
from analyses.selectors.comparisons import MOST_PROBES, PROBES, answers_of, probes_of, reader_of
from analyses.selectors.estimating import Question, estimates_of
from analyses.selectors.starting import deployments_for
from analyses.services.jobs.deleting import session_of
from core.errors import Invalid
from core.figures import count_of
from core.work import owner_name
from projects.models import ItemState, Job, JobItem
from projects.services.kinds import Kind, Ref, Run, Settings, Wanted, settings_for
from providers.gateway.types import CallScope, Route
from providers.models import ModelDeployment
from providers.runner import open_gateway
from providers.services import deployment_config

AT_ONCE = 8
"""Calls of one comparison on the wire."""


class CompareSettings(Settings):
    """``analysis`` is its number, ``chat`` the key of the model to compare with."""

    analysis: int
    chat: int
    count: int = PROBES


@dataclass(frozen=True, slots=True)
class Meeting:
    """An analysis, the model that read it and the one that is asked about the same."""

    session: AnalysisSession
    before: str
    target: ModelDeployment


class Compare(Kind):
    """Another model is asked about conversations that were read; no result changes."""

    key = "compare"
    settings: ClassVar[type[Settings]] = CompareSettings
    size = 20

    @override
    def select(self, wanted: Wanted) -> Iterable[Ref]:
        """Conversations that the present model read, spread over the analysis."""
        met = _met(wanted)
        count = wanted.settings.count
        if not 1 <= count <= MOST_PROBES:
            raise Invalid(fields={"count": f"Enter 1 to {MOST_PROBES}."})
        found = probes_of(met.session, met.before, count)
        if not found:
            raise Invalid(fields={"analysis": "No other model has read a conversation yet."})
        return found

    @override
    def title(self, wanted: Wanted, count: int) -> str:
        """Words for the list of jobs."""
        return f"Compare {_met(wanted).target.model} on {count_of(count, 'conversation')}"

    @override
    def says(self, wanted: Wanted, count: int) -> list[str]:
        """What is asked of whom, and what it costs."""
        met = _met(wanted)
        asked = f"{count_of(count, 'conversation')} that {met.before} read"
        return [
            f"{met.target} is asked about {asked}. No result of the analysis changes.",
            f"Expected cost: {expected_cost(met.session, met.target, count)}. "
            "It counts for the analysis and its limits.",
        ]

    @override
    def begin(self, job: Job) -> None:
        """Note who is compared with whom."""
        met = _met(Wanted(job.project, settings_for(self, job)))
        job.result = {"before": met.before, "after": met.target.model}
        job.save(update_fields=["result"])

    @override
    def chunk(self, run: Run, items: Sequence[JobItem]) -> None:
        """Ask outside of any transaction, then note how far the answers agree."""
        met = _met(Wanted(run.job.project, settings_for(self, run.job)))
        rows = met.session.items.filter(pk__in=[item.ref for item in items])
        asked = {row.pk: prepared_of(row) for row in rows.select_related("conversation")}
        old, specs = answers_of(rows), facets_of(met.session.template_version)
        given, cost = asyncio.run(_ask(met, asked, run.job.created_by_id))
        read = {pk: one for pk, one in given.items() if isinstance(one, FacetsRead)}
        pairs = [Pair(old.get(pk, {}), one.values) for pk, one in read.items()]
        found = marks(pairs, specs, met.session.seed)
        with transaction.atomic():
            run.hold()
            told: Mapping[str, Any] = run.job.result
            run.note(
                marks=[*told.get("marks", []), *found],
                cost=_sum(told.get("cost", 0.0), cost),
            )
            run.settle([item for item in items if item.ref in read], ItemState.DONE)
            for item in items:
                if item.ref not in read:
                    run.settle([item], ItemState.FAILED, _why(given.get(item.ref)))

    @override
    def finish(self, run: Run) -> None:
        """The report, facet by facet."""
        met = _met(Wanted(run.job.project, settings_for(self, run.job)))
        lines = summed(run.job.result.get("marks", []), facets_of(met.session.template_version))
        with transaction.atomic():
            run.hold()
            run.note(facets=lines if run.job.result.get("marks") else [])


def _met(wanted: Wanted) -> Meeting:
    session = session_of(wanted, wanted.settings.analysis)
    target = deployments_for(wanted.project).filter(pk=wanted.settings.chat).first()
    if target is None:
        raise Invalid(fields={"chat": "There is no such model that is switched on."})
    return Meeting(session, reader_of(session, but=target.model), target)


def expected_cost(session: AnalysisSession, target: ModelDeployment, count: int) -> str:
    """What asking a model about so many conversations is expected to cost, in words."""
    question = Question(session.dataset, session.template_version, limit=count)
    estimate = estimates_of(question, [target])[target.pk]
    return next((stage.cost_text for stage in estimate.stages if stage.key == "facets"), "unknown")


def _sum(before: float | None, more: float | None) -> float | None:
    return None if before is None or more is None else before + more


def _why(result: object) -> str:
    return result.message if isinstance(result, ItemFailed) else "It is there no more."


class _Costed:
    """A chat port that adds up what its answers cost; ``None`` once one was unpriced."""

    def __init__(self, port: ChatPort) -> None:
        self._port = port
        self.cost: float | None = 0.0

    async def __call__(self, request: ChatRequest) -> ChatAnswer:
        answer = await self._port(request)
        self.cost = _sum(self.cost, answer.cost)
        return answer


async def _ask(
    met: Meeting, asked: Mapping[int, Prepared], user: int | None
) -> tuple[dict[int, FacetsRead | ItemFailed], float | None]:
    """What the other model says of each conversation, and what that cost.

    Answers are journaled as the analysis's own: after a change to this model they are not paid
    again.
    """
    session = met.session
    config = await asyncio.to_thread(deployment_config, met.target)
    gateway = open_gateway(session.project.workspace_id, count=count_tokens)
    scope = CallScope(
        workspace=session.project.workspace_id,
        session=session.pk,
        project=session.project_id,
        user=user,
        owner=owner_name(),
    )
    port = _Costed(RemoteChat(gateway, {"facets": Asked(Route((config,)))}, scope, LocalEngine()))
    params = await asyncio.to_thread(_params, session)
    context = Context(chat=port, embed=_no_vectors, seed=session.seed)
    free = asyncio.Semaphore(AT_ONCE)

    async def one(prepared: Prepared) -> FacetsRead | ItemFailed:
        async with free:
            try:
                return await read_one(prepared, params, context)
            except CallFailed as error:
                return ItemFailed(prepared.position, error.error_class, error.message)

    try:
        found = await asyncio.gather(*map(one, asked.values()))
    finally:
        await gateway.aclose()
    return dict(zip(asked, found, strict=True)), port.cost


async def _no_vectors(texts: Sequence[str]) -> Any:
    """Reading asks for no vectors; a stage that does has no provider for them here."""
    raise CallFailed("not_found", "A comparison has no model for vectors.", fatal=True)


def _params(session: AnalysisSession) -> FacetsParams:
    """What the analysis itself asks."""
    return FacetsParams(
        facets=facets_of(session.template_version),
        output_language=session.project.language,
        instructions=session.template_version.instructions,
    )
