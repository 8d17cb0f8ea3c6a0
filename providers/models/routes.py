"""Which models answer which step, in what order, by what strategy."""

from __future__ import annotations

from django.db import models
from typing_extensions import override

from accounts.models import Workspace
from providers.models.providers import ModelDeployment


class Purpose(models.TextChoices):
    """What a model is asked for."""

    FACETS = "facets", "Facets"
    NAMES = "names", "Names"
    HIERARCHY = "hierarchy", "Hierarchy"
    PRIVACY = "privacy", "Privacy check"
    ASK = "ask", "Ask your data"
    EMBEDDINGS = "embeddings", "Embeddings"


class Strategy(models.TextChoices):
    """How a target is chosen among those that are healthy and able."""

    PRIORITY = "priority", "In this order"
    WEIGHTED = "weighted", "By weight"
    ROUND_ROBIN = "round_robin", "In turn"
    LEAST_BUSY = "least_busy", "Least busy first"
    LOWEST_LATENCY = "lowest_latency", "Fastest first"
    CHEAPEST = "cheapest", "Cheapest first"


class Semantic(models.TextChoices):
    """Whether answers to nearly the same question may be used again."""

    OFF = "off", "Off"
    SHADOW = "shadow", "Watch only"
    ON = "on", "On"


class Route(models.Model):
    """The workspace's way of answering one purpose.

    ``shadow_compared`` and ``shadow_agreed`` count how often the semantic cache would have
    answered and was right; it may answer only after enough of them. ``cache_days`` is how long
    stored answers are used again, ``None`` for as long as they are kept.
    """

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="routes")
    purpose = models.CharField(max_length=12, choices=Purpose.choices)
    strategy = models.CharField(max_length=16, choices=Strategy.choices, default=Strategy.PRIORITY)
    semantic = models.CharField(max_length=8, choices=Semantic.choices, default=Semantic.OFF)
    cache_days = models.PositiveSmallIntegerField(null=True, blank=True)
    shadow_compared = models.PositiveIntegerField(default=0)
    shadow_agreed = models.PositiveIntegerField(default=0)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["workspace", "purpose"]
        constraints = [
            models.UniqueConstraint(fields=["workspace", "purpose"], name="providers_route_once")
        ]

    @override
    def __str__(self) -> str:
        return self.get_purpose_display()


class RouteTarget(models.Model):
    """One model of a route. ``weight`` is its share under the strategy *By weight*."""

    route = models.ForeignKey(Route, on_delete=models.CASCADE, related_name="targets")
    deployment = models.ForeignKey(ModelDeployment, on_delete=models.CASCADE, related_name="+")
    position = models.PositiveSmallIntegerField()
    weight = models.PositiveSmallIntegerField(default=1)

    class Meta:
        ordering = ["route", "position"]
        constraints = [
            models.UniqueConstraint(
                fields=["route", "deployment"], name="providers_route_target_once"
            )
        ]

    @override
    def __str__(self) -> str:
        return f"{self.route} {self.position}"
