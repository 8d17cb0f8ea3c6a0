"""Where models are called, with what limits and prices, and every call that was made."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from typing_extensions import override

from accounts.models import User, Workspace
from core.ids import uuid7


class ProviderKind(models.TextChoices):
    """What stands behind a provider."""

    LOCAL = "local", "Local engine"
    OPENAI = "openai", "OpenAI-compatible"
    SCRIPTED = "scripted", "Scripted"


class Provider(models.Model):
    """One endpoint. The key is stored encrypted and never shown again."""

    uid = models.UUIDField(default=uuid7, unique=True, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="providers")
    name = models.CharField(max_length=80)
    kind = models.CharField(max_length=12, choices=ProviderKind.choices)
    base_url = models.URLField(max_length=300, blank=True)
    key_encrypted = models.TextField(blank=True)
    key_hint = models.CharField(max_length=8, blank=True, help_text="The key's last characters.")
    extra_headers = models.JSONField(default=dict, blank=True)
    connect_timeout = models.FloatField(default=5.0, help_text="Seconds.")
    first_byte_timeout = models.FloatField(default=30.0, help_text="Seconds.")
    total_timeout = models.FloatField(default=120.0, help_text="Seconds.")
    concurrency = models.PositiveSmallIntegerField(default=16)
    enabled = models.BooleanField(default=True)
    reconciles = models.BooleanField(
        default=False,
        help_text="It keeps answers with our key, so that a call cut off can be looked up.",
    )
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    checked_at = models.DateTimeField(null=True, blank=True)
    check_ok = models.BooleanField(null=True, blank=True)
    check_text = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["workspace", "name"], name="providers_name_once"),
            models.CheckConstraint(
                condition=models.Q(concurrency__gte=1), name="providers_concurrency_positive"
            ),
        ]

    @override
    def __str__(self) -> str:
        return self.name


class ModelDeployment(models.Model):
    """One model at a provider. An unknown price is NULL and shown as "unpriced", never as 0."""

    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="deployments")
    model = models.CharField(max_length=120)
    embeds = models.BooleanField(default=False, help_text="Answers embeddings instead of chat.")
    price_in = models.DecimalField(
        max_digits=12, decimal_places=6, null=True, blank=True, help_text="US$ per million tokens."
    )
    price_out = models.DecimalField(
        max_digits=12, decimal_places=6, null=True, blank=True, help_text="US$ per million tokens."
    )
    context_tokens = models.PositiveIntegerField(null=True, blank=True)
    supports_schema = models.BooleanField(null=True, blank=True)
    retired = models.BooleanField(
        default=False, help_text="Kept for the analyses that used it, not offered for new ones."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "model", "embeds"], name="providers_deployment_once"
            ),
            models.CheckConstraint(
                condition=models.Q(price_in__isnull=True) | models.Q(price_in__gte=0),
                name="providers_price_in_not_negative",
            ),
            models.CheckConstraint(
                condition=models.Q(price_out__isnull=True) | models.Q(price_out__gte=0),
                name="providers_price_out_not_negative",
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.provider} · {self.model}"


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
    priced = models.BooleanField(default=True, help_text="Whether its price was known when sent.")
    settled_at = models.DateTimeField(null=True, blank=True)

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


class Period(models.TextChoices):
    """Over what time a spending limit counts, in UTC."""

    ALL = "all", "in all"
    DAY = "day", "a day"
    MONTH = "month", "a month"


class SpendLimit(models.Model):
    """The most that may be spent in a scope, in US dollars.

    ``scope`` is ``analysis:<id>``, ``project:<id>`` or ``workspace:<id>``: a plain name, since
    the first two stand above providers.
    """

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="limits")
    scope = models.CharField(max_length=40)
    period = models.CharField(max_length=5, choices=Period.choices, default=Period.ALL)
    amount = models.DecimalField(max_digits=14, decimal_places=6)
    warned_for = models.CharField(
        max_length=10, blank=True, help_text="Period for which the 80 % warning was given."
    )
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["scope", "period"]
        constraints = [
            models.UniqueConstraint(fields=["scope", "period"], name="providers_limit_once"),
            models.CheckConstraint(
                condition=models.Q(amount__gte=0), name="providers_limit_not_negative"
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.amount} {self.get_period_display()} for {self.scope}"


class SpendBook(models.Model):
    """Running sums of a scope in one period, kept in the journal's own transactions.

    ``spent`` is settled, ``doubt`` the estimate of sends that were cut off, ``reserved`` the most
    that calls now out can cost; all US dollars. ``key`` is ``all``, ``2026-11`` or ``2026-11-20``.
    """

    scope = models.CharField(max_length=40)
    key = models.CharField(max_length=10)
    spent = models.DecimalField(max_digits=18, decimal_places=8, default=0)
    doubt = models.DecimalField(max_digits=18, decimal_places=8, default=0)
    reserved = models.DecimalField(max_digits=18, decimal_places=8, default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["scope", "key"], name="providers_book_once"),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.scope} {self.key}"
