"""Wiring of the core app."""

from django.apps import AppConfig


class CoreConfig(AppConfig):
    """What every other app may import: leased work, events, live pages, errors."""

    name = "core"
    default_auto_field = "django.db.models.BigAutoField"
