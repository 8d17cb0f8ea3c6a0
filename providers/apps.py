"""Wiring of the providers app."""

from django.apps import AppConfig
from typing_extensions import override

from core.topics import registry


class ProvidersConfig(AppConfig):
    """Model providers, their gateway and the journal of calls."""

    name = "providers"
    default_auto_field = "django.db.models.BigAutoField"

    @override
    def ready(self) -> None:
        """Say who answers for the live topics ``providers:<workspace>``."""
        registry.register(
            "providers",
            authorize="providers.views.listing.may_watch",
            render="providers.views.listing.news_for",
        )
