"""Headers that belong to every page."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

# The admin's own scripts evaluate expressions and style elements in place (Alpine.js). Only
# operators reach it, and what it shows is escaped by Django's templates.
ADMIN_POLICY = {
    "script-src": ["'self'", "'unsafe-inline'", "'unsafe-eval'"],
    "style-src": ["'self'", "'unsafe-inline'"],
}

# What the pages never ask of a browser (https://www.w3.org/TR/permissions-policy/).
REFUSED_FEATURES = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"


class PagePolicyMiddleware:
    """Sets Permissions-Policy, keeps pages with data out of shared caches, eases the admin's CSP.

    Must stand after the CSP middleware, which reads what is left on the response here.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.admin_prefix = reverse("admin:index")

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Permissions-Policy", REFUSED_FEATURES)
        response.headers.setdefault("Cache-Control", "private, no-cache")
        if request.path_info.startswith(self.admin_prefix):
            response._csp_replace = ADMIN_POLICY  # type: ignore[attr-defined]
        return response
