"""One pass over a data set: its batches, the answers, the clusters and what was found."""

from __future__ import annotations

from django.db import models
from typing_extensions import override

from accounts.models import User
from core.ids import uuid7
from core.models import LeasedWork
from projects.models import Conversation, Dataset, Project
from providers.models import ModelDeployment
from templates_app.models import FacetDefinition, TemplateVersion


class SessionStatus(models.TextChoices):
    """What is. Written by ``analyses.services.advance`` alone."""

    QUEUED = "queued", "Waiting"
    RUNNING = "running", "Running"
    PAUSING = "pausing", "Pausing"
    PAUSED = "paused", "Paused"
    BLOCKED = "blocked", "Blocked"
    CANCELLING = "cancelling", "Stopping"
    CANCELLED = "cancelled", "Stopped"
    COMPLETED = "completed", "Complete"
    PARTIAL = "completed_partial", "Complete in part"
    FAILED = "failed", "Failed"


ENDED = frozenset(
    {
        SessionStatus.CANCELLED,
        SessionStatus.COMPLETED,
        SessionStatus.PARTIAL,
        SessionStatus.FAILED,
    }
)


class Desired(models.TextChoices):
    """What the person wants."""

    RUN = "run", "Run"
    PAUSE = "pause", "Pause"
    CANCEL = "cancel", "Stop"


class SessionQuerySet(models.QuerySet["AnalysisSession"]):
    """Analyses by who may see them."""

    def for_user(self, user: User) -> SessionQuerySet:
        """Analyses in projects of the person's workspaces; nothing for strangers."""
        return self.filter(project__in=Project.objects.for_user(user))


class AnalysisSession(models.Model):
    """An analysis. Everything that decides its result is frozen onto it at the start."""

    uid = models.UUIDField(default=uuid7, unique=True, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="analyses")
    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="analyses")
    template_version = models.ForeignKey(TemplateVersion, on_delete=models.PROTECT)
    chat = models.ForeignKey(
        ModelDeployment, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    embedding = models.ForeignKey(
        ModelDeployment, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    number = models.PositiveIntegerField()
    name = models.CharField(max_length=160)
    params = models.JSONField(default=dict, help_text="Validated by analyses.plan.RunParams.")
    pipeline_version = models.CharField(max_length=60)
    seed = models.PositiveIntegerField(default=7)
    desired = models.CharField(max_length=8, choices=Desired.choices, default=Desired.RUN)
    status = models.CharField(
        max_length=20, choices=SessionStatus.choices, default=SessionStatus.QUEUED, db_index=True
    )
    reason = models.CharField(max_length=40, blank=True)
    detail = models.CharField(max_length=400, blank=True, help_text="The reason in words.")
    total = models.PositiveIntegerField(default=0)
    read_count = models.PositiveIntegerField(default=0)
    failed_count = models.PositiveIntegerField(default=0)
    retry_count = models.PositiveIntegerField(default=0)
    tokens_in = models.PositiveBigIntegerField(default=0)
    tokens_out = models.PositiveBigIntegerField(default=0)
    cost = models.DecimalField(max_digits=14, decimal_places=6, default=0)
    unpriced_calls = models.PositiveIntegerField(default=0)
    warnings = models.JSONField(default=list, blank=True)
    notice = models.CharField(max_length=400, blank=True, help_text="About the floors in force.")
    previewed = models.PositiveIntegerField(default=0, help_text="Conversations in the preview.")
    first_preview_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = SessionQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="analyses_session_number"),
            models.CheckConstraint(
                condition=models.Q(status__in=SessionStatus.values),
                name="analyses_session_status_known",
            ),
            models.CheckConstraint(
                condition=models.Q(desired__in=Desired.values),
                name="analyses_session_desired_known",
            ),
        ]

    @override
    def __str__(self) -> str:
        return self.name

    @property
    def topic(self) -> str:
        """The event topic of this analysis."""
        return f"analysis:{self.pk}"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.status in ENDED


class StageProgress(models.Model):
    """How far one stage of an analysis is. Written under the session's row lock."""

    session = models.ForeignKey(AnalysisSession, on_delete=models.CASCADE, related_name="stages")
    key = models.CharField(max_length=20)
    order = models.PositiveSmallIntegerField()
    opened = models.BooleanField(default=False)
    batches_total = models.PositiveIntegerField(default=0)
    batches_done = models.PositiveIntegerField(default=0)
    items_total = models.PositiveIntegerField(default=0)
    items_done = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["order"]
        constraints = [
            models.UniqueConstraint(fields=["session", "key"], name="analyses_stage_once"),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.key} {self.items_done}/{self.items_total}"


class Batch(LeasedWork):
    """The unit of saved work: a range of positions in one stage."""

    session = models.ForeignKey(AnalysisSession, on_delete=models.CASCADE, related_name="batches")
    stage = models.CharField(max_length=20)
    seq = models.PositiveIntegerField()
    first = models.PositiveIntegerField(default=0, help_text="First position, inclusive.")
    last = models.PositiveIntegerField(default=0, help_text="Last position, exclusive.")
    failed_items = models.PositiveIntegerField(default=0)
    retried = models.BooleanField(default=False)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["session", "stage", "seq"], name="analyses_batch_stage_seq"
            ),
        ]
        indexes = [models.Index(fields=["session", "status", "stage"], name="analyses_batch_open")]

    @override
    def __str__(self) -> str:
        return f"{self.stage} {self.seq}"


class Outcome(models.TextChoices):
    """What became of a conversation in an analysis."""

    WAITING = "waiting", "Waiting"
    READ = "read", "Read"
    FAILED = "failed", "Skipped"


class AnalysisItem(models.Model):
    """One conversation in one analysis. ``position`` is its row in every array.

    ``spans`` lists removed personal details as ``[turn, start, end, kind]``; ``kept_from`` and
    ``kept_to`` are the turns that were sent; ``text`` is what was embedded.
    """

    session = models.ForeignKey(AnalysisSession, on_delete=models.CASCADE, related_name="items")
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="+")
    position = models.PositiveIntegerField()
    outcome = models.CharField(max_length=8, choices=Outcome.choices, default=Outcome.WAITING)
    error_class = models.CharField(max_length=20, blank=True)
    error = models.CharField(max_length=300, blank=True)
    spans = models.JSONField(default=list, blank=True)
    kept_from = models.PositiveIntegerField(default=0)
    kept_to = models.PositiveIntegerField(default=0)
    tokens = models.PositiveIntegerField(default=0)
    language = models.CharField(max_length=12, blank=True)
    title = models.CharField(max_length=300, blank=True)
    summary = models.CharField(max_length=600, blank=True)
    text = models.TextField(blank=True)
    model = models.CharField(max_length=120, blank=True)

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["session", "position"], name="analyses_item_position"),
        ]
        indexes = [models.Index(fields=["session", "outcome"], name="analyses_item_outcome")]

    @override
    def __str__(self) -> str:
        return self.title or f"#{self.position}"


class FacetValue(models.Model):
    """One answer; exactly the column of its facet's type is filled, or none for "unknown"."""

    item = models.ForeignKey(AnalysisItem, on_delete=models.CASCADE, related_name="values")
    facet = models.ForeignKey(FacetDefinition, on_delete=models.PROTECT, related_name="+")
    text = models.TextField(null=True, blank=True)  # noqa: DJ001 - NULL is "of another type"
    number = models.FloatField(null=True, blank=True)
    flag = models.BooleanField(null=True, blank=True)
    entries = models.JSONField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["item", "facet"], name="analyses_value_once"),
        ]

    @override
    def __str__(self) -> str:
        return str(self.value)

    @property
    def value(self) -> object:
        """The answer in its own type, ``None`` for unknown."""
        for answer in (self.text, self.number, self.flag, self.entries):
            if answer is not None:
                return answer
        return None


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
