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

__all__ = [
    "LimitState",
    "Place",
    "PlaceRow",
    "ProviderRow",
    "Spending",
    "Use",
    "figures",
    "limit_states",
    "places",
    "provider",
    "provider_rows",
    "providers",
    "room",
    "spending",
    "state_of",
    "use_by_provider",
]
