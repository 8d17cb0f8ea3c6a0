"""The chat port that needs no model: it answers from a request's payload, by rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from analyses.pipeline.base import ChatAnswer, ChatRequest, Purpose
from analyses.pipeline.local import groups, names, renames
from analyses.pipeline.local.reading import read_facets
from analyses.pipeline.redaction import redact_text

MODEL_LABEL = "local engine"
"""What stands wherever the name of a model would: everybody shall know that there was none."""


def _names(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    if "rename" in payload:
        return {"groups": renames.rename_groups(payload)}
    name, description = names.keyphrase_name(payload)
    return {"name": name, "description": description}


def _hierarchy(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    return groups.STEPS[payload["step"]](payload)


def _privacy(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """5 unless the redaction rules find a personal detail, then 1."""
    text = f"{payload.get('name', '')}\n{payload.get('description', '')}"
    kinds = sorted(redact_text(text)[1])
    if kinds:
        return {"reason": f"The rules found personal details: {', '.join(kinds)}.", "score": 1}
    return {"reason": "The rules found no personal detail.", "score": 5}


_ANSWERS: Mapping[Purpose, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
    "facets": read_facets,
    "names": _names,
    "hierarchy": _hierarchy,
    "privacy": _privacy,
}


class LocalEngine:
    """Answers every question of the pipeline without a model, the same way each time.

    Extractive facets, keyphrase names and themes by distance. It costs nothing and sends nothing
    anywhere; it does not understand, and everything it writes is labelled :data:`MODEL_LABEL`.
    """

    async def __call__(self, request: ChatRequest) -> ChatAnswer:
        """Answer from ``request.payload``; ``request.messages`` are not read."""
        return ChatAnswer(data=_ANSWERS[request.purpose](request.payload), model=MODEL_LABEL)
