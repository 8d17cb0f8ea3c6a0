"""The estimate an analysis is started with."""

from __future__ import annotations

import logging
from typing import Any

from analyses.plan import RunParams
from analyses.selectors.estimating import Question, estimates_of, local_estimate
from projects.models import Dataset
from providers.models import ModelDeployment
from templates_app.models import TemplateVersion

log = logging.getLogger("openclio.estimates")


def expected(
    dataset: Dataset,
    version: TemplateVersion,
    chat: ModelDeployment | None,
    embedding: ModelDeployment | None,
    params: RunParams,
) -> dict[str, Any]:
    """What an analysis is expected to cost and take, to be stored on it.

    Reads at most fifty conversations. An estimate is a courtesy: whatever keeps it from being
    made is logged, and the analysis starts without one.
    """
    question = Question(
        dataset, version, limit=params.limit, clusters=params.clusters,
        concurrency=params.concurrency, batched=params.bulk,
    )  # fmt: skip
    try:
        if chat is None:
            return local_estimate(question.count).to_json()
        return estimates_of(question, [chat], embedding)[chat.pk].to_json()
    except Exception:
        log.exception("The estimate of data set %d could not be made.", dataset.pk)
        return {}
