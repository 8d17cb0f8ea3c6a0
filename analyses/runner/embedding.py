"""Vectors in spite of single texts that a provider always refuses."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

import numpy as np

from analyses.pipeline.base import CallFailed, EmbedPort, Matrix
from analyses.runner.outage import OWN, passing


class Sparing:
    """An embedding port for which one text that cannot be embedded does not spoil the others.

    A refused batch is halved until the text is found; its row stays zero, which lies in no
    cluster. Only while the provider embeds another text: otherwise it is away or wants something
    else of every request, and the error goes on.
    """

    def __init__(self, port: EmbedPort) -> None:
        self._port = port

    async def __call__(self, texts: Sequence[str]) -> Matrix:
        """Vectors of ``texts``. Raises :class:`CallFailed`."""
        try:
            return await self._port(texts)
        except CallFailed as error:
            if error.fatal or (passing(error) and error.error_class not in OWN):
                raise
            width = await self._width(error)
        if len(texts) == 1:
            return np.zeros((1, width), dtype=np.float32)
        middle = len(texts) // 2
        return np.vstack([await self(texts[:middle]), await self(texts[middle:])])

    async def _width(self, error: CallFailed) -> int:
        """How long the provider's vectors are; raises ``error`` when it embeds nothing now."""
        try:
            found = await self._port([f"Reference {uuid4().hex}"])
        except CallFailed:
            raise error from None
        return int(found.shape[1])
