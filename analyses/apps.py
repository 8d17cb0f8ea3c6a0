"""Wiring of the analyses app."""

from django.apps import AppConfig


class AnalysesConfig(AppConfig):
    """Analyses: batches, facets, clusters, insights."""

    name = "analyses"
    default_auto_field = "django.db.models.BigAutoField"
