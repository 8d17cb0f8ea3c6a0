"""Wiring of the providers app."""

from django.apps import AppConfig


class ProvidersConfig(AppConfig):
    """Model providers, their gateway and the journal of calls."""

    name = "providers"
    default_auto_field = "django.db.models.BigAutoField"
