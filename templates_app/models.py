"""Analysis templates: what is asked of every conversation, in versions that never change."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from typing_extensions import override

from accounts.models import User, Workspace
from core.ids import uuid7
from projects.models import Project


class FacetKind(models.TextChoices):
    """The type of a facet's answer."""

    TEXT = "text", "Text"
    CATEGORY = "category", "Category"
    SCORE = "score", "Score"
    BOOLEAN = "boolean", "Yes or no"
    LIST = "list", "List"


class AnalysisTemplate(models.Model):
    """A named set of facets and prompts. Shipped templates belong to no workspace."""

    uid = models.UUIDField(default=uuid7, unique=True, editable=False)
    workspace = models.ForeignKey(
        Workspace, on_delete=models.CASCADE, related_name="templates", null=True, blank=True
    )
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="templates", null=True, blank=True
    )
    key = models.SlugField(max_length=60)
    name = models.CharField(max_length=120)
    description = models.CharField(max_length=300, blank=True)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["workspace", "key"], name="templates_key_once"),
            # Two NULLs are different to a database, so shipped templates need one of their own.
            models.UniqueConstraint(
                fields=["key"],
                condition=models.Q(workspace=None),
                name="templates_shipped_key_once",
            ),
        ]

    @override
    def __str__(self) -> str:
        return self.name


class Frozen(models.Model):
    """Rows that are written once: analyses point at them and must stay explainable."""

    class Meta:
        abstract = True

    @override
    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert; refuse every later change."""
        if not self._state.adding:
            raise ValidationError("A template version cannot be changed. Make a new version.")
        super().save(*args, **kwargs)


class TemplateVersion(Frozen):
    """One immutable version of a template."""

    template = models.ForeignKey(
        AnalysisTemplate, on_delete=models.CASCADE, related_name="versions"
    )
    number = models.PositiveIntegerField()
    instructions = models.TextField(blank=True, help_text="Added to the prompt of every facet.")
    embed_facet = models.SlugField(max_length=40, default="request")
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["template", "number"], name="templates_version_once"),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.template} {self.number}"


class FacetDefinition(Frozen):
    """One question asked of every conversation."""

    version = models.ForeignKey(TemplateVersion, on_delete=models.CASCADE, related_name="facets")
    order = models.PositiveSmallIntegerField()
    key = models.SlugField(max_length=40)
    label = models.CharField(max_length=60)
    question = models.TextField()
    kind = models.CharField(max_length=10, choices=FacetKind.choices)
    choices = models.JSONField(default=list, blank=True)
    low = models.SmallIntegerField(default=1)
    high = models.SmallIntegerField(default=5)

    class Meta:
        ordering = ["order"]
        constraints = [
            models.UniqueConstraint(fields=["version", "key"], name="templates_facet_key_once"),
            models.CheckConstraint(
                condition=models.Q(kind__in=FacetKind.values), name="templates_facet_kind_known"
            ),
            models.CheckConstraint(
                condition=models.Q(low__lt=models.F("high")), name="templates_facet_range"
            ),
        ]

    @override
    def __str__(self) -> str:
        return self.label
