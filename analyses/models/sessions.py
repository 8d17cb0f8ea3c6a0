"""Analyses: what was asked for, where they stand, how far each stage is."""

from __future__ import annotations

from django.db import models
from typing_extensions import override

from accounts.models import User
from core.ids import uuid7
from projects.models import Dataset, Project
from providers.models import ModelDeployment
from templates_app.models import TemplateVersion


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


class BlockReason(models.TextChoices):
    """Why an analysis waits. The key is stored in ``AnalysisSession.reason``."""

    BUDGET = "budget", "The spending limit was reached"
    QUOTA = "quota", "The provider account has no credit left"
    KEY = "key", "The provider refused the key"
    PROVIDER = "provider", "No provider answers"
    DISK = "disk", "The disk is full"
    ERRORS = "too_many_errors", "Too many conversations failed"
    UPGRADE = "upgrade", "It needs another version of OpenClio"


class Desired(models.TextChoices):
    """What the person wants."""

    RUN = "run", "Run"
    PAUSE = "pause", "Pause"
    CANCEL = "cancel", "Stop"


class SessionQuerySet(models.QuerySet["AnalysisSession"]):
    """Analyses by who may see them."""

    def for_user(self, user: User) -> SessionQuerySet:
        """Analyses in projects of the person's workspaces; nothing for strangers.

        What lies in the trash is left out, and so are analyses of a data set that does.
        """
        return self.kept().filter(project__in=Project.objects.for_user(user))

    def kept(self) -> SessionQuerySet:
        """Analyses that are not in the trash."""
        return self.filter(deleted_at=None, dataset__deleted_at=None)


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
    fallback = models.ForeignKey(
        ModelDeployment,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="Asked when the first model does not answer.",
    )
    based_on = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text="The analysis whose answers this one groups anew.",
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
    retry_at = models.DateTimeField(
        null=True, blank=True, help_text="When a block is tried again by itself."
    )
    blocks = models.PositiveSmallIntegerField(
        default=0, help_text="Blocks in a row without progress; each waits longer."
    )
    errors_allowed = models.PositiveIntegerField(
        default=0, help_text="Failed conversations that a person accepted by resuming."
    )
    total = models.PositiveIntegerField(default=0)
    read_count = models.PositiveIntegerField(default=0)
    failed_count = models.PositiveIntegerField(default=0)
    retry_count = models.PositiveIntegerField(default=0)
    tokens_in = models.PositiveBigIntegerField(default=0)
    tokens_out = models.PositiveBigIntegerField(default=0)
    cost = models.DecimalField(max_digits=14, decimal_places=6, default=0)
    in_doubt = models.DecimalField(
        max_digits=14,
        decimal_places=6,
        default=0,
        help_text="Estimated cost of calls that were cut off; counted as spent.",
    )
    doubt_count = models.PositiveIntegerField(default=0, help_text="Sends that were cut off.")
    unpriced_calls = models.PositiveIntegerField(default=0)
    estimate = models.JSONField(
        default=dict, blank=True, help_text="What was expected before the start, by stage."
    )
    outlook = models.JSONField(
        default=dict, blank=True, help_text="The range of the end that was told last, and why."
    )
    recovery = models.JSONField(
        default=dict,
        blank=True,
        help_text="The last recovery: when, what was kept, what is repeated, what it costs.",
    )
    recoveries = models.PositiveIntegerField(default=0)
    warnings = models.JSONField(default=list, blank=True)
    notice = models.CharField(max_length=400, blank=True, help_text="About the floors in force.")
    previewed = models.PositiveIntegerField(default=0, help_text="Conversations in the preview.")
    first_preview_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    deleted_at = models.DateTimeField(
        null=True, blank=True, db_index=True, help_text="In the trash since."
    )

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


class ModelChange(models.Model):
    """Somebody had an analysis go on with another model.

    ``position`` is how many conversations had an outcome then. ``agreement`` is the report of the
    comparison made before, empty when nobody compared.
    """

    session = models.ForeignKey(AnalysisSession, on_delete=models.CASCADE, related_name="changes")
    before = models.CharField(max_length=210)
    after = models.CharField(max_length=210)
    position = models.PositiveIntegerField(default=0)
    agreement = models.JSONField(default=dict, blank=True)
    changed_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True)
    changed_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]

    @override
    def __str__(self) -> str:
        return f"{self.before} → {self.after}"


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
