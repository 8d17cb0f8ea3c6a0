"""Prices that owners enter, from when they hold, and what they make of calls without a price."""

from __future__ import annotations

from datetime import datetime

from providers.models import ModelDeployment, ModelPrice


def price_in_force(deployment: ModelDeployment, when: datetime) -> ModelPrice | None:
    """The newest dated price of a model that was in force at a moment, if there is one."""
    rows = ModelPrice.objects.filter(deployment=deployment.pk, effective_from__lte=when)
    return rows.order_by("-effective_from").first()
