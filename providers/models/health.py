"""How models do: the breaker that all processes share, and what each process saw."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from typing_extensions import override

from providers.models.providers import ModelDeployment


class BreakerState(models.TextChoices):
    """Whether a model is called."""

    CLOSED = "closed", "In use"
    OPEN = "open", "Resting"
    HALF_OPEN = "half_open", "Being tried"
    RESTED = "rested", "Rested by hand"


class DeploymentHealth(models.Model):
    """The breaker of one model. ``version`` grows with each change: changes compare and set it.

    ``opens`` counts openings in a row, from which the next rest's length follows. ``retry_at`` is
    when it may be tried again, ``probe_owner`` and ``probe_until`` who tries it and until when.
    """

    deployment = models.OneToOneField(
        ModelDeployment, on_delete=models.CASCADE, related_name="health"
    )
    state = models.CharField(
        max_length=10, choices=BreakerState.choices, default=BreakerState.CLOSED
    )
    version = models.PositiveIntegerField(default=0)
    reason = models.CharField(max_length=20, blank=True, help_text="An error class, or 'by hand'.")
    detail = models.CharField(max_length=300, blank=True)
    opens = models.PositiveSmallIntegerField(default=0)
    retry_at = models.DateTimeField(null=True, blank=True)
    probe_owner = models.CharField(max_length=120, blank=True)
    probe_until = models.DateTimeField(null=True, blank=True)
    changed_at = models.DateTimeField(default=timezone.now)

    @override
    def __str__(self) -> str:
        return f"{self.deployment} {self.state}"


class HealthChange(models.Model):
    """A change of a breaker, for the page: what happened, when, and where work went meanwhile.

    ``switch_ms`` is how long the first call took to go on to ``went_to``.
    """

    deployment = models.ForeignKey(
        ModelDeployment, on_delete=models.CASCADE, related_name="changes"
    )
    state = models.CharField(max_length=10, choices=BreakerState.choices)
    reason = models.CharField(max_length=20, blank=True)
    detail = models.CharField(max_length=300, blank=True)
    analysis_id = models.BigIntegerField(null=True, blank=True)
    went_to = models.CharField(max_length=200, blank=True)
    switch_ms = models.PositiveIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["deployment", "-created_at"], name="providers_changes")]

    @override
    def __str__(self) -> str:
        return f"{self.deployment} {self.state}"


class HealthSlot(models.Model):
    """What one process saw of one model in five minutes; written by that process alone.

    One row for each process keeps writers apart; readers add the rows up. ``latencies`` counts
    answers by the bounds of :data:`providers.gateway.health.LATENCY_BOUNDS`, ``errors`` failures
    by class.
    """

    deployment = models.ForeignKey(ModelDeployment, on_delete=models.CASCADE, related_name="slots")
    start = models.DateTimeField()
    owner = models.CharField(max_length=120)
    answered = models.PositiveIntegerField(default=0)
    slow = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    recovered = models.PositiveIntegerField(
        default=0, help_text="Calls that failed first and were answered in the end."
    )
    tokens = models.PositiveBigIntegerField(default=0)
    errors = models.JSONField(default=dict, blank=True)
    latencies = models.JSONField(default=list, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["deployment", "start", "owner"], name="providers_slot_once"
            )
        ]
        indexes = [models.Index(fields=["start"], name="providers_slot_start")]

    @override
    def __str__(self) -> str:
        return f"{self.deployment_id} {self.start:%H:%M}"


class Member(models.Model):
    """A process that calls a model now; written by that process alone, about once a second.

    The provider's limits are divided among members seen lately. ``wanted`` is how many calls it
    would like to have out, ``limit`` what it allows itself; ``requests_left`` and ``tokens_left``
    are what the provider's headers said last.
    """

    deployment = models.ForeignKey(
        ModelDeployment, on_delete=models.CASCADE, related_name="members"
    )
    owner = models.CharField(max_length=120)
    in_flight = models.PositiveIntegerField(default=0)
    wanted = models.PositiveIntegerField(default=0)
    limit = models.PositiveIntegerField(default=0)
    requests_left = models.PositiveIntegerField(null=True, blank=True)
    tokens_left = models.PositiveBigIntegerField(null=True, blank=True)
    seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["deployment", "owner"], name="providers_member_once")
        ]

    @override
    def __str__(self) -> str:
        return f"{self.owner} {self.deployment_id}"
