"""The shapes of what an owner enters about providers, their limits and routes."""

from providers.forms.keys import KeyForm
from providers.forms.limits import LimitForm, limit_form, plain
from providers.forms.prices import PriceForm
from providers.forms.providers import ProviderForm, initial_of
from providers.forms.use import UseForm

__all__ = [
    "KeyForm",
    "LimitForm",
    "PriceForm",
    "ProviderForm",
    "UseForm",
    "initial_of",
    "limit_form",
    "plain",
]
