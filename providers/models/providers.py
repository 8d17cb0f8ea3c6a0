"""Endpoints, their models, and what these cost."""

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
    ANTHROPIC = "anthropic", "Anthropic"
    SCRIPTED = "scripted", "Scripted"


class Provider(models.Model):
    """One endpoint. Keys and the proxy's address are stored encrypted and never shown again.

    Two keys may live at once: ``key`` is used, ``spare_key`` when the first is refused, so that a
    key can be replaced at the provider before or after it is replaced here. ``preset`` names the
    entry of :mod:`providers.clients.presets` it was made from.
    """

    uid = models.UUIDField(default=uuid7, unique=True, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="providers")
    name = models.CharField(max_length=80)
    kind = models.CharField(max_length=12, choices=ProviderKind.choices)
    base_url = models.URLField(max_length=300, blank=True)
    key_encrypted = models.TextField(blank=True)
    key_hint = models.CharField(max_length=8, blank=True, help_text="The key's last characters.")
    preset = models.CharField(max_length=20, blank=True)
    spare_key_encrypted = models.TextField(blank=True)
    spare_key_hint = models.CharField(max_length=8, blank=True)
    key_changed_at = models.DateTimeField(null=True, blank=True)
    proxy_encrypted = models.TextField(blank=True)
    ca_certificates = models.TextField(blank=True, help_text="PEM, trusted besides the system's.")
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True)
    tokens_per_minute = models.PositiveIntegerField(null=True, blank=True)
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
    price_cached = models.DecimalField(
        max_digits=12,
        decimal_places=6,
        null=True,
        blank=True,
        help_text="US$ per million tokens read from the provider's cache.",
    )
    context_tokens = models.PositiveIntegerField(null=True, blank=True)
    dimensions = models.PositiveIntegerField(null=True, blank=True)
    supports_schema = models.BooleanField(null=True, blank=True)
    supports_tools = models.BooleanField(null=True, blank=True)
    supports_streaming = models.BooleanField(null=True, blank=True)
    offers_batches = models.BooleanField(default=False, help_text="Half the price, within a day.")
    probed_at = models.DateTimeField(null=True, blank=True)
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


class ModelPrice(models.Model):
    """What a model costs from a moment on, as an owner entered it; US dollars per million tokens.

    A call is priced by the newest row that was in force when it was sent.
    """

    deployment = models.ForeignKey(ModelDeployment, on_delete=models.CASCADE, related_name="prices")
    effective_from = models.DateTimeField(default=timezone.now)
    price_in = models.DecimalField(max_digits=12, decimal_places=6)
    price_out = models.DecimalField(max_digits=12, decimal_places=6, default=0)
    price_cached = models.DecimalField(max_digits=12, decimal_places=6, null=True, blank=True)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["deployment", "-effective_from"]
        constraints = [
            models.UniqueConstraint(
                fields=["deployment", "effective_from"], name="providers_price_once_a_moment"
            ),
            models.CheckConstraint(
                condition=models.Q(price_in__gte=0, price_out__gte=0),
                name="providers_dated_price_not_negative",
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.deployment} from {self.effective_from:%Y-%m-%d}"
