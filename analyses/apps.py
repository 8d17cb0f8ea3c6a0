"""Wiring of the analyses app."""

from django.apps import AppConfig
from typing_extensions import override

from core import jobs
from core.topics import registry

JOBS = {
    "compare": "analyses.runner.comparing.Compare",
    "delete_analyses": "analyses.services.jobs.DeleteAnalyses",
    "delete_conversations": "analyses.services.jobs.DeleteConversations",
    "delete_datasets": "analyses.services.jobs.DeleteDatasets",
    "export": "analyses.export.files.Export",
    "purge": "analyses.services.jobs.Purge",
    "recluster": "analyses.services.jobs.Recluster",
    "reembed": "analyses.services.jobs.Reembed",
    "reread": "analyses.services.jobs.Reread",
}


class AnalysesConfig(AppConfig):
    """Analyses: batches, facets, clusters, insights."""

    name = "analyses"
    default_auto_field = "django.db.models.BigAutoField"

    @override
    def ready(self) -> None:
        """Say who answers for the live topics ``analysis:<id>`` and who does which jobs."""
        registry.register(
            "analysis",
            authorize="analyses.views.live.may_watch",
            render="analyses.views.live.news_for",
        )
        for kind, path in JOBS.items():
            jobs.registry.register(kind, path)
        jobs.registry.add_source("analyses.selectors.working.entries")
        jobs.registry.add_trash("analyses.selectors.working.trashed")
