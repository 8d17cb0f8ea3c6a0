"""Pages of providers: the list, one provider, the routes and the limits."""

from providers.views.detail import edit, new, test
from providers.views.limits import limits
from providers.views.listing import (
    events,
    fragments,
    provider_list,
    rest_all,
    return_all,
    spend,
    switch,
    test_all,
)
from providers.views.routes import change as change_route
from providers.views.routes import route

__all__ = [
    "change_route",
    "edit",
    "events",
    "fragments",
    "limits",
    "new",
    "provider_list",
    "rest_all",
    "return_all",
    "route",
    "spend",
    "switch",
    "test",
    "test_all",
]
