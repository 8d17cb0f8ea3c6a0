"""The shapes of what an owner enters about providers, their limits and routes."""

from providers.forms.limits import LimitForm, limit_form, plain
from providers.forms.providers import ProviderForm, initial_of

__all__ = ["LimitForm", "ProviderForm", "initial_of", "limit_form", "plain"]
