"""Every call that was made: the journal, its failed sends, and what replays saved."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from typing_extensions import override

from accounts.models import Workspace


class CallState(models.TextChoices):
    """Where a journalled call stands."""

    SENT = "sent", "Sent"
    OK = "ok", "Answered"
    FAILED = "failed", "Failed"
    DOUBT = "doubt", "In doubt"


class LlmCall(models.Model):
    """The journal: the intent before bytes leave, the answer before it is parsed.

    A call that was cut off is in doubt: each such send is an :class:`LlmAttempt` with its
    estimated cost, and asking again is another send of the same row.

    ``fingerprint`` covers workspace, prompt version, model, parameters and input, so a replay
    finds its answer and pays nothing. ``analysis_id`` is a plain number: analyses stand above
    providers and may be deleted while the books stay.
    """

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="llm_calls")
    analysis_id = models.BigIntegerField(null=True, blank=True, db_index=True)
    project_id = models.BigIntegerField(null=True, blank=True)
    deployment_id = models.BigIntegerField(null=True, blank=True)
    user_id = models.BigIntegerField(null=True, blank=True)
    key_id = models.BigIntegerField(null=True, blank=True, help_text="The API key that asked.")
    fingerprint = models.CharField(max_length=64)
    purpose = models.CharField(max_length=20)
    provider = models.CharField(max_length=80)
    model = models.CharField(max_length=120)
    prompt_version = models.CharField(max_length=40, blank=True)
    state = models.CharField(max_length=8, choices=CallState.choices, default=CallState.SENT)
    response = models.TextField(blank=True)
    tokens_in = models.PositiveIntegerField(default=0)
    tokens_out = models.PositiveIntegerField(default=0)
    tokens_cached = models.PositiveIntegerField(default=0)
    tokens_reasoning = models.PositiveIntegerField(default=0, help_text="Part of tokens out.")
    cost = models.DecimalField(max_digits=14, decimal_places=8, null=True, blank=True)
    latency_ms = models.PositiveIntegerField(null=True, blank=True)
    error_class = models.CharField(max_length=20, blank=True)
    sends = models.PositiveSmallIntegerField(default=0, help_text="How often bytes left.")
    repeats = models.PositiveSmallIntegerField(
        default=0, help_text="How often it was asked again because its answer was lost."
    )
    owner = models.CharField(max_length=120, blank=True)
    ticket = models.PositiveBigIntegerField(
        default=0, help_text="Tells the sends of one process apart."
    )
    sent_at = models.DateTimeField()
    sent_until = models.DateTimeField(
        null=True, blank=True, help_text="Until then the answer may still come."
    )
    reserved = models.DecimalField(
        max_digits=14,
        decimal_places=8,
        default=0,
        help_text="US$ set aside while the call is out: the most it can cost.",
    )
    tokens_reserved = models.PositiveIntegerField(
        default=0, help_text="The most tokens its newest send can take, in and out."
    )
    priced = models.BooleanField(default=True, help_text="Whether its price was known when sent.")
    settled_at = models.DateTimeField(null=True, blank=True)
    batched = models.BooleanField(default=False, help_text="Sent through a provider's batch API.")
    used_at = models.DateTimeField(
        null=True, blank=True, help_text="When its stored answer was last read, to the hour."
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "fingerprint"], name="providers_call_fingerprint_once"
            ),
            models.CheckConstraint(
                condition=models.Q(cost__isnull=True) | models.Q(cost__gte=0),
                name="providers_call_cost_not_negative",
            ),
        ]
        indexes = [
            models.Index(fields=["analysis_id", "state"], name="providers_call_by_run"),
            models.Index(
                fields=["workspace"], condition=models.Q(state="sent"), name="providers_call_out"
            ),
            models.Index(fields=["workspace", "sent_at"], name="providers_call_by_time"),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.purpose} {self.model} {self.state}"


class LlmAttempt(models.Model):
    """One send of a call that brought no answer, with its class of error.

    ``in_doubt`` marks a send that the provider may have billed; ``cost`` is then its estimate in
    US dollars (``None`` when unpriced), and counts as spent.
    """

    call = models.ForeignKey(LlmCall, on_delete=models.CASCADE, related_name="attempts")
    error_class = models.CharField(max_length=20)
    message = models.CharField(max_length=300, blank=True)
    latency_ms = models.PositiveIntegerField(null=True, blank=True)
    in_doubt = models.BooleanField(default=False)
    cost = models.DecimalField(max_digits=14, decimal_places=8, null=True, blank=True)
    provider = models.CharField(max_length=80, blank=True)
    model = models.CharField(max_length=120, blank=True)
    owner = models.CharField(max_length=120, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(cost__isnull=True) | models.Q(cost__gte=0),
                name="providers_attempt_cost_not_negative",
            ),
        ]

    @override
    def __str__(self) -> str:
        return self.error_class


class CacheDay(models.Model):
    """How often answers were replayed instead of bought, by project, purpose and day (UTC).

    ``saved`` is what the answers cost when they were bought, US dollars.
    """

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="cache_days")
    project_id = models.BigIntegerField(default=0, help_text="0: outside a project.")
    purpose = models.CharField(max_length=20)
    day = models.DateField()
    hits = models.PositiveBigIntegerField(default=0)
    semantic_hits = models.PositiveBigIntegerField(default=0)
    misses = models.PositiveBigIntegerField(default=0)
    tokens_saved = models.PositiveBigIntegerField(default=0)
    saved = models.DecimalField(max_digits=18, decimal_places=8, default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "project_id", "purpose", "day"],
                name="providers_cache_day_once",
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.purpose} {self.day}"


class SemanticEntry(models.Model):
    """A question whose answer may serve one that says nearly the same.

    ``space`` names what must be equal: project, purpose, prompt version, model, schema and
    parameters; ``guard`` the numbers, negations and named things of the text. ``vector`` holds
    little-endian float32 of unit length.
    """

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="semantic")
    project_id = models.BigIntegerField()
    purpose = models.CharField(max_length=20)
    space = models.CharField(max_length=64)
    guard = models.CharField(max_length=64)
    vector = models.BinaryField()
    call = models.ForeignKey(LlmCall, on_delete=models.CASCADE, related_name="semantic")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [models.Index(fields=["workspace", "space", "guard"], name="providers_semantic")]

    @override
    def __str__(self) -> str:
        return f"{self.purpose} {self.pk}"
