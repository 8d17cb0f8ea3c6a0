"""From facet texts to unit vectors, through whatever embedding port the analysis uses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from analyses.pipeline.base import Context, Matrix, StageParams
from analyses.pipeline.records import VectorBlock


class EmbedParams(StageParams):
    """``batch`` texts per call; ``whole`` asks for all at once.

    The local port needs ``whole``: it weighs words by how often they occur in all the texts.
    """

    batch: int = Field(default=256, ge=1, le=4096)
    whole: bool = False


class EmbedStage:
    """Embeds the chosen facet text of every conversation."""

    key: ClassVar[str] = "embed"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("facets",)
    Params: ClassVar[type[StageParams]] = EmbedParams

    def __init__(self, params: EmbedParams | None = None) -> None:
        self.params = params or EmbedParams()

    async def run(self, inputs: Sequence[str], context: Context) -> AsyncIterator[VectorBlock]:
        """Yield the unit vectors of ``inputs`` in order, one block per call of the port.

        A blank text gets a zero row, which the cluster stage sends to the rest bin.
        """
        total = len(inputs)
        size = max(1, total) if self.params.whole else self.params.batch
        for start in range(0, total, size):
            context.check()
            texts = inputs[start : start + size]
            matrix = unit_rows(await context.embed(texts), texts)
            yield VectorBlock(start, matrix)
            context.report(start + len(texts), total)


def unit_rows(matrix: Matrix, texts: Sequence[str]) -> Matrix:
    """``matrix`` as float32 with rows of length one, zero where the text is blank.

    A port that answers with another number of rows, or with something that is no number, would
    shift every later array against the conversations: that is an error, never repaired.
    """
    result = np.array(matrix, dtype=np.float32)
    if result.ndim != 2 or len(result) != len(texts):
        raise ValueError(f"expected {len(texts)} vectors, got an array of shape {result.shape}")
    if not np.isfinite(result).all():
        raise ValueError("the embedding holds values that are no finite numbers")
    norms = np.linalg.norm(result, axis=1, keepdims=True)
    np.divide(result, norms, out=result, where=norms > 0)
    result[[not text.strip() for text in texts]] = 0.0
    return result
