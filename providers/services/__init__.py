"""Changes to providers, limits and the books of spending. Every door calls these."""

from providers.selectors.limits import LimitState, limit_states, room
from providers.services.answers import (
    bound_all_answers,
    bound_answers,
    forget_answers,
    forget_vectors,
    purge_answers,
)
from providers.services.deployments import deployment_config
from providers.services.inputs import ModelInput, ProviderInput
from providers.services.keys import drop_spare_key, replace_key, rotate_keys
from providers.services.limits import newly_near, set_limit, set_limits
from providers.services.listing import fetch_models
from providers.services.lost import doubt_lost_calls, tick
from providers.services.prices import drop_price, reprice, set_price
from providers.services.providers import checked_address, save_provider, set_enabled
from providers.services.routes import route_config, set_route
from providers.services.secrets import stored_key
from providers.services.trials import begin_trials, try_out
from providers.services.trying import test_provider
from providers.services.use import newly_near_use, set_use_limit

__all__ = [
    "LimitState",
    "ModelInput",
    "ProviderInput",
    "begin_trials",
    "bound_all_answers",
    "bound_answers",
    "checked_address",
    "deployment_config",
    "doubt_lost_calls",
    "drop_price",
    "drop_spare_key",
    "fetch_models",
    "forget_answers",
    "forget_vectors",
    "limit_states",
    "newly_near",
    "newly_near_use",
    "purge_answers",
    "replace_key",
    "reprice",
    "room",
    "rotate_keys",
    "route_config",
    "save_provider",
    "set_enabled",
    "set_limit",
    "set_limits",
    "set_price",
    "set_route",
    "set_use_limit",
    "stored_key",
    "test_provider",
    "tick",
    "try_out",
]
