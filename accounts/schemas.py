"""What the JSON doors receive."""

from __future__ import annotations

from django.http import HttpRequest

from accounts.models import User


class ApiRequest(HttpRequest):
    """A request past the sign-in of the JSON API.

    Never made: it names, for the type checker, what the API's sign-in adds to a request.
    """

    auth: User
    """Who asks, narrowed to the key's workspace and role when a key was used."""
