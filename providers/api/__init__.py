"""JSON doors of providers, routes, stored answers and limits."""

from providers.api.answers import router as answers
from providers.api.limits import router as limits
from providers.api.providers import router as providers
from providers.api.routes import router as routes

__all__ = ["answers", "limits", "providers", "routes"]
