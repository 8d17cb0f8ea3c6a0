"""What a preview takes and gives: plain frozen data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from analyses.pipeline.base import Labels, Matrix

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PreviewCluster:
    """A provisional cluster.

    ``key`` belongs to it for as long as most of its conversations stay together; ``kept`` counts
    the previews in a row that it kept its name; ``named_at`` is its size when it was named.
    """

    key: int
    name: str
    size: int
    theme_key: int
    kept: int = 0
    named_at: int = 0


@dataclass(frozen=True, slots=True)
class PreviewTheme:
    """A provisional theme: clusters that are near each other.

    ``key`` is 0 to 9, the index of its hue; a theme keeps it for as long as it exists, and only
    then is it given to another.
    """

    key: int
    name: str
    size: int
    named_at: int = 0


def _no_rows() -> Rows:
    return np.zeros(0, dtype=np.int64)


def _no_labels() -> Labels:
    return np.zeros(0, dtype=np.int32)


def _no_matrix() -> Matrix:
    return np.zeros((0, 0), dtype=np.float32)


def _no_places() -> Matrix:
    return np.zeros((0, 2), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class PreviewResult:
    """A provisional picture, and all the next one needs to keep its keys, names and places.

    ``rows[i]`` tells which conversation row ``i`` is; ``labels[i]`` is the **key** of its cluster;
    ``xy`` lies in [-1, 1]; ``centroids`` has one row per entry of ``clusters``. ``laid_out`` is
    the number of rows when the islands were last arranged.
    """

    rows: Rows = field(default_factory=_no_rows)
    labels: Labels = field(default_factory=_no_labels)
    xy: Matrix = field(default_factory=_no_places)
    centroids: Matrix = field(default_factory=_no_matrix)
    clusters: tuple[PreviewCluster, ...] = ()
    themes: tuple[PreviewTheme, ...] = ()
    laid_out: int = 0
    next_key: int = 0

    @property
    def kept_names(self) -> int:
        """How many clusters carry the name they had in the preview before."""
        return sum(cluster.kept > 0 for cluster in self.clusters)


@dataclass(frozen=True, slots=True)
class PreviewInputs:
    """The conversations read so far.

    ``texts`` are the facet texts to group by, ``hints`` short texts (request, task) a name may be
    worded from. ``rows`` identifies each conversation across previews; left out, the texts of the
    previous preview are taken to be the first ones of these. ``vectors`` saves the embedding when
    the caller already has one (unit rows).
    """

    texts: Sequence[str]
    hints: Sequence[str] = ()
    vectors: Matrix | None = None
    previous: PreviewResult | None = None
    rows: Sequence[int] | None = None
