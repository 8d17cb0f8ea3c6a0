"""Tables every app stands on: events with their numbering, beats of workers, leased work."""

from __future__ import annotations

from django.db import models
from typing_extensions import override


class Topic(models.Model):
    """One stream of events, for example ``analysis:42``. ``next_seq`` numbers it without gaps."""

    name = models.CharField(max_length=120, unique=True)
    next_seq = models.PositiveBigIntegerField(default=1)

    @override
    def __str__(self) -> str:
        return self.name


class Event(models.Model):
    """What changed, numbered per topic in commit order."""

    topic = models.ForeignKey(Topic, on_delete=models.CASCADE, related_name="events")
    seq = models.PositiveBigIntegerField()
    kind = models.CharField(max_length=60)
    payload = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["topic", "seq"], name="core_event_topic_seq"),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.topic_id}#{self.seq} {self.kind}"


class Beat(models.Model):
    """When a part of the system was last seen at work (``canary``, ``supervisor``)."""

    name = models.CharField(max_length=80, primary_key=True)
    beat_at = models.DateTimeField()

    @override
    def __str__(self) -> str:
        return f"{self.name} at {self.beat_at:%H:%M:%S}"


class WorkStatus(models.TextChoices):
    """Where a piece of leased work stands."""

    PENDING = "pending", "Waiting"
    LEASED = "leased", "Running"
    DONE = "done", "Saved"
    QUARANTINED = "quarantined", "Failed"
    CANCELLED = "cancelled", "Stopped"


class LeasedWork(models.Model):
    """Base of everything a worker may claim.

    ``fence`` grows by one at every claim; whoever writes results must name the fence it was given,
    so a worker that lost its lease can no longer write. ``attempt`` counts claims, because a worker
    that dies reports nothing.
    """

    status = models.CharField(
        max_length=12, choices=WorkStatus.choices, default=WorkStatus.PENDING, db_index=True
    )
    fence = models.PositiveIntegerField(default=0)
    attempt = models.PositiveSmallIntegerField(default=0)
    owner = models.CharField(max_length=120, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    not_before = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True
