"""Wiring of the analyses app."""

from django.apps import AppConfig
from typing_extensions import override

from core.topics import registry


class AnalysesConfig(AppConfig):
    """Analyses: batches, facets, clusters, insights."""

    name = "analyses"
    default_auto_field = "django.db.models.BigAutoField"

    @override
    def ready(self) -> None:
        """Say who answers for the live topics ``analysis:<id>``."""
        registry.register(
            "analysis",
            authorize="analyses.views.live.may_watch",
            render="analyses.views.live.news_for",
        )
