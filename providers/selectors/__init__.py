"""Reads about providers, calls and spending, ready for pages."""

from providers.selectors.limits import (
    LimitState,
    Place,
    PlaceRow,
    Spending,
    limit_states,
    places,
    room,
    spending,
)
from providers.selectors.providers import (
    ProviderRow,
    Use,
    figures,
    provider,
    provider_rows,
    providers,
    state_of,
    use_by_provider,
)
from providers.selectors.routes import effective_route, offered, route_plan, route_plans

__all__ = [
    "LimitState",
    "Place",
    "PlaceRow",
    "ProviderRow",
    "Spending",
    "Use",
    "effective_route",
    "figures",
    "limit_states",
    "offered",
    "places",
    "provider",
    "provider_rows",
    "providers",
    "room",
    "route_plan",
    "route_plans",
    "spending",
    "state_of",
    "use_by_provider",
]
