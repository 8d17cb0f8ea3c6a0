"""Wiring of the templates_app app."""

from django.apps import AppConfig


class TemplatesAppConfig(AppConfig):
    """Analysis templates and their immutable versions."""

    name = "templates_app"
    verbose_name = "Templates"
    default_auto_field = "django.db.models.BigAutoField"
