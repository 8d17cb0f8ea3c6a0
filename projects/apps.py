"""Wiring of the projects app."""

from django.apps import AppConfig


class ProjectsConfig(AppConfig):
    """Projects, data sets and conversations."""

    name = "projects"
    default_auto_field = "django.db.models.BigAutoField"
