"""Inputs and records of the stages: plain frozen data, in the order the stages use them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from analyses.pipeline.base import Labels, Matrix

FacetKind = Literal["text", "category", "score", "boolean", "list"]
FacetScalar = str | float | bool | None
FacetAnswer = FacetScalar | tuple[str, ...]


class FacetSpec(BaseModel):
    """One question asked of every conversation.

    ``choices`` belongs to ``category`` (empty: free), ``low``/``high`` to ``score``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    label: str
    question: str
    kind: FacetKind
    choices: tuple[str, ...] = ()
    low: int = 1
    high: int = 5


# prepare -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation as stored."""

    role: str
    text: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """One conversation as it enters the pipeline. ``position`` is its row in every array."""

    position: int
    turns: tuple[Turn, ...]
    user: str = ""
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of personal detail: turn index, character range, kind (``email``, ``phone`` …)."""

    turn: int
    start: int
    end: int
    kind: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """A conversation ready for a model.

    ``turns`` are redacted; ``spans`` refer to the original texts; ``kept`` is the half-open range
    of turns from the first to the last that survived truncation and ``dropped`` the half-open
    range left out of its middle (empty: none); ``tokens`` counts the kept, redacted text.
    """

    position: int
    turns: tuple[Turn, ...]
    spans: tuple[Span, ...]
    kept: tuple[int, int]
    tokens: int
    language: str
    dropped: tuple[int, int] = (0, 0)


# facets ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FacetsRead:
    """The answers to all facets of one conversation."""

    position: int
    values: Mapping[str, FacetAnswer]
    model: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class ItemFailed:
    """One conversation that could not be read; the run goes on without it."""

    position: int
    error_class: str
    message: str


# embed and cluster -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VectorBlock:
    """Unit vectors of the texts ``start … start + len(matrix)``."""

    start: int
    matrix: Matrix


@dataclass(frozen=True, slots=True)
class Assignment:
    """The base clusters. ``labels`` has one entry per vector, ``centroids`` one row per cluster."""

    labels: Labels
    centroids: Matrix
    warnings: tuple[str, ...] = ()


# name and hierarchy ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NameInputs:
    """``texts`` are the embedded facet texts, rows as in ``vectors`` and ``labels``.

    ``hints`` are short facet texts (request, task) the local engine may draw a wording from.
    """

    texts: Sequence[str]
    hints: Sequence[str]
    vectors: Matrix
    labels: Labels
    centroids: Matrix


@dataclass(frozen=True, slots=True)
class ClusterText:
    """Name and description of one base cluster; ``failed`` names why a fallback was used."""

    index: int
    name: str
    description: str
    model: str = ""
    failed: str = ""


@dataclass(frozen=True, slots=True)
class HierarchyInputs:
    """The named base clusters, index as in ``centroids``; ``sizes`` in conversations."""

    names: Sequence[str]
    descriptions: Sequence[str]
    centroids: Matrix
    sizes: Sequence[int]


@dataclass(frozen=True, slots=True)
class TreeNode:
    """One node of the finished tree.

    ``key`` is unique in the tree; base clusters have ``leaf`` set to their cluster index.
    ``level`` is 1 for themes and grows downwards. ``parent`` is ``None`` for themes.
    ``model`` worded it, if the stage that made the node knows.
    """

    key: int
    parent: int | None
    level: int
    name: str
    description: str
    leaf: int | None = None
    model: str = ""


# privacy -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """What the privacy stage needs to know of one tree node."""

    key: int
    parent: int | None
    level: int
    name: str
    description: str
    conversations: int
    users: int | None
    """Distinct end users; ``None`` when the data carries no end-user ids."""


@dataclass(frozen=True, slots=True)
class PrivacyVerdict:
    """Whether a group may be shown. ``score`` is the auditor's 1 (identifying) to 5 (general)."""

    key: int
    shown: bool
    reason: Literal["", "conversations", "users", "text"] = ""
    score: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Floors:
    """The floors in force, after scaling to the data; ``notice`` says so in words."""

    conversations: int
    users: int
    notice: str = ""


# map ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MapInputs:
    """``labels`` are the rows' themes, negative for none: they draw a theme's rows together.

    With no label, or one for all, the layout comes from the vectors alone.
    """

    vectors: Matrix
    labels: Labels


@dataclass(frozen=True, slots=True)
class Layout:
    """Coordinates in [-1, 1], shape ``(n, 2)``, rows as in the vectors."""

    xy: Matrix
    method: str


# insights and report -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AnalysisTable:
    """The finished analysis as columns, one entry per conversation that was read.

    ``groups[key]`` holds the row indices of a tree node (every level), ``nodes`` the tree,
    ``facets[key]`` the answers, ``started`` the times (or ``None``), ``users`` the end users.
    """

    nodes: Sequence[TreeNode]
    groups: Mapping[int, Sequence[int]]
    specs: Sequence[FacetSpec]
    facets: Mapping[str, Sequence[FacetAnswer]]
    started: Sequence[datetime | None]
    users: Sequence[str]
    languages: Sequence[str]
    shown: frozenset[int] = frozenset()
    """Keys of nodes that passed the privacy floors; insights speak of no other."""


InsightKind = Literal["rise", "new", "concern", "facet", "language", "resolution"]


@dataclass(frozen=True, slots=True)
class InsightFound:
    """Something worth a look, worded for a reader. ``score`` ranks, higher first."""

    kind: InsightKind
    title: str
    text: str
    score: float
    node: int | None = None
    facet: str = ""
    count: int = 0
    share: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class ReportInputs:
    """What the report adds up. ``totals`` carries counters kept while running."""

    read: int
    failed: int
    total: int
    vectors: Matrix
    labels: Labels
    nodes: Sequence[TreeNode]
    groups: Mapping[int, Sequence[int]]
    totals: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReportCard:
    """The report of a run; ``figures`` is JSON-ready."""

    figures: Mapping[str, Any]
