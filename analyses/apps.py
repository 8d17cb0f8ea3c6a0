"""Wiring of the analyses app."""

from django.apps import AppConfig


class AnalysesConfig(AppConfig):
    """Analyses: batches, facets, clusters, insights."""

    name = "analyses"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Say who answers for the live topics ``analysis:<id>``."""
        from core.live import registry  # needs the models, which are loaded only now

        registry.register(
            "analysis",
            authorize="analyses.views.live.may_watch",
            render="analyses.views.live.news_for",
        )
