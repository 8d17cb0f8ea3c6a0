"""What an analysis consists of: its stages, their order and needs, and its frozen settings."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from providers.gateway.types import Semantic, Strategy


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage: ``needs`` are the stages that must have finished before it opens.

    ``weight`` is its usual share of the time, for the width of its bar.
    ``ranged`` stages work batch by batch over positions; the others are one batch.
    """

    key: str
    label: str
    needs: tuple[str, ...]
    weight: float
    ranged: bool = False


STAGES: tuple[StagePlan, ...] = (
    StagePlan("prepare", "Prepare", (), 6, ranged=True),
    StagePlan("facets", "Read and extract", ("prepare",), 42, ranged=True),
    StagePlan("embed", "Embed", ("facets",), 11),
    StagePlan("cluster", "Cluster", ("embed",), 8),
    StagePlan("name", "Name", ("cluster",), 10),
    StagePlan("hierarchy", "Arrange", ("name",), 8),
    StagePlan("privacy", "Privacy", ("hierarchy",), 5),
    StagePlan("map", "Map", ("hierarchy",), 6),
    StagePlan("insights", "Insights", ("privacy",), 4),
    StagePlan("report", "Report", ("insights", "map"), 4),
)

BY_KEY = {stage.key: stage for stage in STAGES}

PREVIEW = "preview"
"""Batches of this stage redraw the provisional picture; they belong to no progress bar."""

PIPELINE_VERSION = "1"
"""Grows when the results of the same settings would change."""

KNOWN_VERSIONS = frozenset({PIPELINE_VERSION})
"""Versions whose analyses this program can go on with; others wait for one that can."""

FIRST_PREVIEW = 50
"""Conversations read before the first provisional clusters are drawn."""

PREVIEW_GROWTH = 1.6
"""A new preview is drawn when this many times more has been read."""


class FrozenRoute(BaseModel):
    """Who answers one purpose, as it was when the analysis was started.

    ``targets`` are primary keys of models with their weights, in order. ``local_last``: when none
    of them answers, the local engine does. Without targets it answers alone. ``max_age`` is how
    old a stored answer may be, in seconds.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    strategy: Strategy = "priority"
    targets: list[tuple[int, int]] = Field(default_factory=list)
    semantic: Semantic = "off"
    max_age: float | None = Field(default=None, ge=0)
    local_last: bool = False


class RunParams(BaseModel):
    """The settings frozen onto an analysis. Defaults also fill rows written by older versions."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    limit: int | None = Field(default=None, ge=1)
    concurrency: int = Field(default=16, ge=1, le=1000)
    clusters: int | None = Field(default=None, ge=1)
    floor_conversations: int = Field(default=25, ge=0)
    floor_users: int = Field(default=10, ge=0)
    vectors: Literal["auto", "local", "minilm"] = "auto"
    """Where vectors come from when the provider offers none: ``auto`` is ``local``, the weighted
    words of the analysis itself; ``minilm`` is the optional small model (``pipeline/minilm.py``)."""
    spread_over: int | None = Field(default=None, ge=1)
    """Conversations of the data set among which ``limit`` are chosen, spread evenly; without it
    the first are taken."""
    left_out: list[int] = Field(default_factory=list)
    """Positions of the data set, ascending, whose conversations were deleted before the start."""
    routes: dict[str, FrozenRoute] = Field(default_factory=dict)
    """By purpose, for an analysis in the workspace's order; a purpose that is missing is asked of
    the analysis's own models."""
    bulk: bool = False
    """Conversations are read in the provider's batches: half the price, within 24 hours."""
    key: int | None = None
    """The API key that started it: its limits hold for the calls."""
    identity: str = ""
    """Recognises the same work started again from the command line."""


VECTORS = "embeddings"
"""The purpose whose route belongs to the embedding model; all others are asked in words."""


def without_routes(params: Mapping[str, Any], *, chat: bool, vectors: bool) -> dict[str, Any]:
    """Stored settings without the routes that other models replace."""
    kept = {
        purpose: route
        for purpose, route in params.get("routes", {}).items()
        if not (vectors if purpose == VECTORS else chat)
    }
    return {**params, "routes": kept}


def places(params: RunParams, *, total: int, seed: int, first: int, last: int) -> dict[int, int]:
    """Positions in the data set of a range of an analysis, each with its position in the analysis.

    A spread sample takes one conversation of each of ``total`` equal stretches, drawn by the seed
    (stratified sampling; Cochran, Sampling Techniques, 1977, section 5.3).
    """
    of = params.spread_over
    after = past(params.left_out)
    found: dict[int, int] = {}
    for position in range(first, last):
        kept = position
        if of is not None and of > total:
            start, end = position * of // total, (position + 1) * of // total
            drawn = hashlib.blake2b(f"{seed}:{position}".encode(), digest_size=8).digest()
            kept = start + int.from_bytes(drawn) % (end - start)
        found[after(kept)] = position
    return found


def past(left_out: Sequence[int]) -> Callable[[int], int]:
    """Gives the position in the data set of the n-th conversation, not counting those left out."""
    gaps = [place - before for before, place in enumerate(left_out)]
    # Every gap up to there moves it on by one.
    return lambda kept: kept + bisect_right(gaps, kept)


def batch_size(total: int) -> int:
    """Conversations in one batch: about forty batches, never fewer than 10 or more than 100."""
    return max(10, min(100, math.ceil(total / 40)))


def next_preview(previewed: int, total: int) -> int:
    """How many conversations must be read before the next preview is worth drawing."""
    if previewed == 0:
        return min(FIRST_PREVIEW, total)
    return math.ceil(previewed * PREVIEW_GROWTH)


def identity_of(*parts: object) -> str:
    """A short fingerprint of settings, to find the same work again."""
    return hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).hexdigest()[:32]
