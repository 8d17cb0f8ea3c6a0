"""Wiring of the accounts app."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """People, workspaces, roles, API keys and the audit trail."""

    name = "accounts"
    default_auto_field = "django.db.models.BigAutoField"
