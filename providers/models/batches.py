"""Calls handed to a provider in bulk: half the price, answered within a day."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.utils import timezone
from typing_extensions import override

from accounts.models import Workspace
from core.ids import uuid7
from providers.models.providers import ModelDeployment

EXPECTED = timedelta(hours=24)
"""Providers answer within a day or let a batch expire."""


class BulkState(models.TextChoices):
    """Where a provider batch stands."""

    PREPARING = "preparing", "Being sent"
    WORKING = "working", "At the provider"
    ENDED = "ended", "Collected"
    LOST = "lost", "Never arrived"


class ProviderBatch(models.Model):
    """One batch at a provider. ``uid`` travels in its metadata, so that a batch whose number was
    lost in a crash is found again before anything is sent twice.
    """

    uid = models.UUIDField(default=uuid7, unique=True, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="bulk")
    deployment = models.ForeignKey(ModelDeployment, on_delete=models.CASCADE, related_name="bulk")
    analysis_id = models.BigIntegerField(null=True, blank=True, db_index=True)
    state = models.CharField(max_length=10, choices=BulkState.choices, default=BulkState.PREPARING)
    remote_id = models.CharField(max_length=200, blank=True)
    remote_state = models.CharField(max_length=40, blank=True)
    owner = models.CharField(max_length=120, blank=True)
    size = models.PositiveIntegerField(default=0)
    collected = models.PositiveIntegerField(default=0)
    missing = models.PositiveIntegerField(default=0)
    polled_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["workspace", "state"], name="providers_bulk_state")]

    @override
    def __str__(self) -> str:
        return f"{self.deployment} {self.uid}"


class ProviderBatchLine(models.Model):
    """One call of a provider batch; ``custom_id`` is the call's fingerprint.

    ``answer`` keeps what came back until the call is settled; ``outcome`` is ``ok``, ``failed``,
    ``expired`` or ``missing`` once the batch has ended.
    """

    batch = models.ForeignKey(ProviderBatch, on_delete=models.CASCADE, related_name="lines")
    custom_id = models.CharField(max_length=64, db_index=True)
    outcome = models.CharField(max_length=10, blank=True)
    answer = models.JSONField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["batch", "custom_id"], name="providers_line_once")
        ]

    @override
    def __str__(self) -> str:
        return self.custom_id
