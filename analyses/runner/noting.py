"""Which models answered while a stage worked."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from analyses.models import AnalysisSession
from analyses.pipeline.base import ChatAnswer, ChatPort, ChatRequest
from analyses.pipeline.local.engine import MODEL_LABEL
from analyses.runner.job import Job
from core.figures import count_of

INSTEAD = "No model of the route answered; the local engine "
"""How the warning begins that a model's answers were stood in for."""


class Noted:
    """A chat port that counts the answers of each model."""

    def __init__(self, port: ChatPort) -> None:
        self._port = port
        self.models: Counter[str] = Counter()

    async def __call__(self, request: ChatRequest) -> ChatAnswer:
        """Ask, and note who answered."""
        answer = await self._port(request)
        self.models[answer.model] += 1
        return answer

    @property
    def words(self) -> str:
        """The models that answered, most answers first; rules of our own when none did."""
        return ", ".join(model for model, _ in self.models.most_common()) or MODEL_LABEL


def noted(job: Job) -> tuple[Job, Noted]:
    """The job with a port that notes who answers."""
    port = Noted(job.context.chat)
    return replace(job, context=replace(job.context, chat=port)), port


DID = {
    "names": "named the groups",
    "hierarchy": "arranged the groups",
    "privacy": "checked the texts of the groups",
}


def warn(session: AnalysisSession, job: Job, port: Noted, purpose: str) -> None:
    """Say on a locked analysis that the local engine did what a model was to do.

    A stage that is done again takes its earlier warning back.
    """
    text = f"{INSTEAD}{DID[purpose]}."
    kept = [one for one in session.warnings if one != text]
    stood_in = purpose in job.ports.remote and port.models[MODEL_LABEL]
    session.warnings = [*kept, text] if stood_in else kept
    session.save(update_fields=["warnings"])


PUSHED = " held a link or spoke to the reader, and got words of the group instead."
"""How the warning ends that names were replaced."""


def tell_flagged(session: AnalysisSession, count: int) -> None:
    """Say on a locked analysis how many names conversations may have pushed."""
    kept = [one for one in session.warnings if not one.endswith(PUSHED)]
    told = [f"{count_of(count, 'group name')}{PUSHED}"] if count else []
    session.warnings = [*kept, *told]
    session.save(update_fields=["warnings"])
