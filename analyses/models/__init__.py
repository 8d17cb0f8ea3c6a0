"""One pass over a data set: its batches, the answers, the clusters and what was found."""

from analyses.models.items import AnalysisItem, Batch, FacetValue, Outcome
from analyses.models.results import Artifact, ArtifactKind, Cluster, ClusterMembership, Insight
from analyses.models.sessions import (
    ENDED,
    AnalysisSession,
    BlockReason,
    Desired,
    ModelChange,
    SessionQuerySet,
    SessionStatus,
    StageProgress,
)

__all__ = [
    "ENDED",
    "AnalysisItem",
    "AnalysisSession",
    "Artifact",
    "ArtifactKind",
    "Batch",
    "BlockReason",
    "Cluster",
    "ClusterMembership",
    "Desired",
    "FacetValue",
    "Insight",
    "ModelChange",
    "Outcome",
    "SessionQuerySet",
    "SessionStatus",
    "StageProgress",
]
