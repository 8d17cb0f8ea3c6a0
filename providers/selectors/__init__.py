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
from providers.selectors.prices import Price, Unpriced, dated_prices, price_of, unpriced
from providers.selectors.providers import (
    ProviderRow,
    figures,
    provider,
    provider_rows,
    providers,
    state_of,
)
from providers.selectors.reconciling import Report, report
from providers.selectors.routes import effective_route, offered, route_plan, route_plans
from providers.selectors.use import UseState, use_limits, use_room, use_states

__all__ = [
    "ChangeRow",
    "DeploymentHealthRow",
    "LimitState",
    "Place",
    "PlaceRow",
    "Price",
    "ProviderHealth",
    "ProviderRow",
    "Report",
    "Spending",
    "SwitchFigures",
    "Unpriced",
    "UseState",
    "dated_prices",
    "deployment_health",
    "effective_route",
    "figures",
    "limit_states",
    "offered",
    "places",
    "price_of",
    "provider",
    "provider_health",
    "provider_rows",
    "providers",
    "recent_changes",
    "report",
    "room",
    "route_plan",
    "route_plans",
    "spending",
    "state_of",
    "switch_figures",
    "unpriced",
    "use_limits",
    "use_room",
    "use_states",
]
