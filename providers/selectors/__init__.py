"""Reads about providers, calls and spending, ready for pages."""

from providers.selectors.happenings import (
    ChangeRow,
    SwitchFigures,
    recent_changes,
    switch_figures,
)
from providers.selectors.health import (
    DeploymentHealthRow,
    ProviderHealth,
    deployment_health,
    provider_health,
)
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
    figures,
    provider,
    provider_rows,
    providers,
    state_of,
)
from providers.selectors.routes import effective_route, offered, route_plan, route_plans

__all__ = [
    "ChangeRow",
    "DeploymentHealthRow",
    "LimitState",
    "Place",
    "PlaceRow",
    "ProviderHealth",
    "ProviderRow",
    "Spending",
    "SwitchFigures",
    "deployment_health",
    "effective_route",
    "figures",
    "limit_states",
    "offered",
    "places",
    "provider",
    "provider_health",
    "provider_rows",
    "providers",
    "recent_changes",
    "room",
    "route_plan",
    "route_plans",
    "spending",
    "state_of",
    "switch_figures",
]
