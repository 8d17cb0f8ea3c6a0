"""What counts as worth a look."""

from __future__ import annotations

from pydantic import Field

from analyses.pipeline.base import StageParams


class InsightParams(StageParams):
    """Thresholds of the finders.

    ``false_share`` bounds the share of false finds per kind (Benjamini-Hochberg);
    ``false_changes`` does for rises and new groups, where a false lead costs a glance and a missed
    change is what the list is there to prevent. ``group`` is the smallest group whose shares are spoken of; the design says "too few to tell" under 30.
    """

    most: int = Field(default=12, ge=1, le=100)
    false_share: float = Field(default=0.05, gt=0, lt=1)
    false_changes: float = Field(default=0.1, gt=0, lt=1)
    group: int = Field(default=30, ge=2)
    count: int = Field(default=10, ge=1)
    since: int = Field(default=8, ge=3)
    users: int = Field(default=3, ge=1)
    concern: int = Field(default=5, ge=1)
