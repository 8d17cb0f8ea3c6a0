"""The units of saved work, and what was read from each conversation."""

from __future__ import annotations

from django.db import models
from typing_extensions import override

from analyses.models.sessions import AnalysisSession
from core.models import LeasedWork
from projects.models import Conversation
from templates_app.models import FacetDefinition


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

    @property
    def mark(self) -> str:
        """Names this claim among all of the stage, for its files: the batch, then the fence."""
        return f"{self.seq}-{self.fence}"


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
