"""What was found: clusters, insights and files of numbers."""

from __future__ import annotations

from django.db import models
from typing_extensions import override

from analyses.models.items import AnalysisItem
from analyses.models.sessions import AnalysisSession


class Cluster(models.Model):
    """A group of conversations: level 1 are themes, deeper levels lie inside them.

    ``key`` is stable within the analysis. ``hue`` 1-10 belongs to the theme and is inherited.
    Provisional clusters come from the preview and are replaced when the tree is final.
    """

    session = models.ForeignKey(AnalysisSession, on_delete=models.CASCADE, related_name="clusters")
    parent = models.ForeignKey(
        "self", on_delete=models.CASCADE, null=True, blank=True, related_name="children"
    )
    key = models.PositiveIntegerField()
    level = models.PositiveSmallIntegerField()
    leaf = models.PositiveIntegerField(null=True, blank=True, help_text="Index of a base cluster.")
    name = models.CharField(max_length=160)
    description = models.TextField(blank=True)
    size = models.PositiveIntegerField(default=0)
    users = models.PositiveIntegerField(null=True, blank=True)
    hue = models.PositiveSmallIntegerField(default=10)
    order = models.PositiveIntegerField(default=0)
    x = models.FloatField(null=True, blank=True)
    y = models.FloatField(null=True, blank=True)
    provisional = models.BooleanField(default=False)
    kept = models.PositiveSmallIntegerField(default=0, help_text="Previews it kept its name.")
    gain = models.IntegerField(default=0, help_text="Growth since the previous preview.")
    shown = models.BooleanField(default=True)
    withheld_for = models.CharField(max_length=20, blank=True)
    privacy_score = models.PositiveSmallIntegerField(null=True, blank=True)
    model = models.CharField(max_length=120, blank=True)

    class Meta:
        ordering = ["order"]
        constraints = [
            models.UniqueConstraint(
                fields=["session", "key", "provisional"], name="analyses_cluster_key"
            ),
            models.CheckConstraint(
                condition=models.Q(level__gte=1), name="analyses_cluster_level_positive"
            ),
        ]

    @override
    def __str__(self) -> str:
        return self.name


class ClusterMembership(models.Model):
    """A conversation in a base cluster; ancestors follow from the tree."""

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="memberships")
    item = models.ForeignKey(AnalysisItem, on_delete=models.CASCADE, related_name="memberships")
    similarity = models.FloatField(null=True, blank=True, help_text="Cosine to the centre.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["cluster", "item"], name="analyses_membership_once"),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.item_id} in {self.cluster_id}"


class Insight(models.Model):
    """Something worth a look, found by the product."""

    session = models.ForeignKey(AnalysisSession, on_delete=models.CASCADE, related_name="insights")
    rank = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=20)
    title = models.CharField(max_length=240)
    text = models.TextField(blank=True)
    score = models.FloatField(default=0)
    cluster = models.ForeignKey(
        Cluster, on_delete=models.SET_NULL, null=True, blank=True, related_name="insights"
    )
    facet = models.CharField(max_length=40, blank=True)
    count = models.PositiveIntegerField(default=0)
    share = models.FloatField(null=True, blank=True)
    low = models.FloatField(null=True, blank=True)
    high = models.FloatField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["rank"]

    @override
    def __str__(self) -> str:
        return self.title


class ArtifactKind(models.TextChoices):
    """What a file of an analysis holds."""

    VECTORS = "vectors", "Vectors (float32, one row per position read)"
    LABELS = "labels", "Base cluster per row (int32)"
    CENTROIDS = "centroids", "Cluster centres (float32)"
    MAP = "map", "Map coordinates (uint16 pairs)"
    PREVIEW = "preview", "Provisional picture"
    NAMES = "names", "Names of base clusters (JSON)"
    TREE = "tree", "The tree before the privacy check (JSON)"
    REPORT = "report", "Report card (JSON)"


class Artifact(models.Model):
    """A file of bulk numbers. ``fence`` is in the path, so a late writer is never pointed at."""

    session = models.ForeignKey(AnalysisSession, on_delete=models.CASCADE, related_name="artifacts")
    kind = models.CharField(max_length=12, choices=ArtifactKind.choices)
    path = models.CharField(max_length=300)
    rows = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["session", "kind"], name="analyses_artifact_once"),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.kind} of {self.session_id}"
